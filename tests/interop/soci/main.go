// Command interop runs SOCI's own code over our files, for tests to compare with.
//
//	interop read LAYER ZTOC             every file of the layer through the zTOC, as JSON lines
//	interop build LAYER ALGO SPAN TOOL  the zTOC that SOCI's builder makes, on stdout
//	interop index                       a SOCI index manifest from stdin, decoded and encoded again, on stdout
//	interop convert LAYOUT DIGEST TYPE SIZE MIN-LAYER-SIZE [PLATFORM...]
//	                                    SOCI's converter over an OCI layout; the new index's digest on stdout
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/awslabs/soci-snapshotter/soci"
	"github.com/awslabs/soci-snapshotter/ztoc"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 3 && args[0] == "read":
		out := bufio.NewWriter(os.Stdout)
		defer out.Flush()
		encoder := json.NewEncoder(out)
		return read(args[1], args[2], func(file File) error { return encoder.Encode(file) })
	case len(args) == 5 && args[0] == "build":
		return build(args[1], args[2], args[3], args[4])
	case len(args) == 1 && args[0] == "index":
		return index()
	case len(args) >= 6 && args[0] == "convert":
		return convert(args[1], args[2], args[3], args[4], args[5], args[6:])
	}
	return fmt.Errorf("bad arguments %q", args)
}

func build(layer, algorithm, span, tool string) error {
	spanBytes, err := strconv.ParseInt(span, 10, 64)
	if err != nil {
		return err
	}
	built, err := ztoc.NewBuilder(tool).BuildZtoc(layer, spanBytes, ztoc.WithCompression(algorithm))
	if err != nil {
		return err
	}
	encoded, _, err := ztoc.Marshal(built)
	if err != nil {
		return err
	}
	_, err = io.Copy(os.Stdout, encoded)
	return err
}

func index() error {
	var decoded soci.Index
	if err := soci.DecodeIndex(os.Stdin, &decoded); err != nil {
		return err
	}
	encoded, err := soci.MarshalIndex(&decoded)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(encoded)
	return err
}
