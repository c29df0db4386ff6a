// Command interop runs stargz-snapshotter's own code over blobs, as a judge of ours and as a writer to compare with.
// What it says is JSON. Options may stand anywhere.
//
//	interop check BLOB --toc-digest D [--zstd]   every promise of the blob; exit code 1 and "errors" where one is broken
//	interop list BLOB --toc-digest D [--zstd]    every path as the snapshotter's filesystem reads it, as JSON lines
//	interop unpack BLOB OUT [--zstd]             the tar without TOC and footer
//	interop build [--zstdchunked] [--level N] [--chunk-size N] [--min-chunk-size N] [--prioritized FILE]
//	              IN OUT [IN OUT ...]            what the reference converter makes of tars, all side by side
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("check, list, unpack or build?")
	}
	switch args[0] {
	case "check":
		return runCheck(args[1:])
	case "list":
		return runList(args[1:])
	case "unpack":
		return runUnpack(args[1:])
	case "build":
		return runBuild(args[1:])
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
