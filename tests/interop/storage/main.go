// Command interop runs containers/storage's and containers/image's own code, that of podman, buildah, skopeo and CRI-O,
// over blobs and images of ours. What it says is JSON. Options may stand anywhere. Root only: storage is an overlay.
//
//	interop check BLOB --annotations JSON --diff-id D --root DIR     a partial pull of one layer, and its tar again
//	interop compress [--level N] IN OUT [IN OUT ...]                 zstd:chunked by the reference writer, side by side
//	interop copy HOST/NAME:TAG --root DIR [--partial=false]          an image from a registry in plain HTTP into storage
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"

	"github.com/sirupsen/logrus"
	"go.podman.io/storage/pkg/reexec"
)

func main() {
	if reexec.Init() {
		return
	}
	logrus.SetLevel(logrus.ErrorLevel)
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("check, compress or copy?")
	}
	switch args[0] {
	case "check":
		return runCheck(args[1:])
	case "compress":
		return runCompress(args[1:])
	case "copy":
		return runCopy(args[1:])
	}
	return fmt.Errorf("bad command %q", args[0])
}

// parse gives the positional arguments, wherever the options stand; there must be n of them, if n is not 0.
func parse(options *flag.FlagSet, args []string, n int) ([]string, error) {
	var found []string
	for {
		if err := options.Parse(args); err != nil {
			return nil, err
		}
		if options.NArg() == 0 {
			break
		}
		found = append(found, options.Arg(0))
		args = options.Args()[1:]
	}
	if n != 0 && len(found) != n {
		return nil, fmt.Errorf("%s: %d arguments, not %d", options.Name(), len(found), n)
	}
	return found, nil
}

func say(value any) error {
	return json.NewEncoder(os.Stdout).Encode(value)
}
