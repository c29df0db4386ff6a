// Command soci builds the zTOC of each layer with SOCI's own code, all layers side by side, spans of 4 MiB, as
// `soci create` does. That copies each layer into a temporary file before, which is left out here.
//
//	soci LAYER OUT [LAYER OUT ...]
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/awslabs/soci-snapshotter/ztoc"
	"golang.org/x/sync/errgroup"
)

const spanBytes = 4 << 20

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(paths []string) error {
	if len(paths) == 0 || len(paths)%2 != 0 {
		return fmt.Errorf("usage: soci LAYER OUT [LAYER OUT ...]")
	}
	builder := ztoc.NewBuilder("bench")
	var group errgroup.Group
	for i := 0; i < len(paths); i += 2 {
		group.Go(func() error { return build(builder, paths[i], paths[i+1]) })
	}
	return group.Wait()
}

func build(builder *ztoc.Builder, layer, out string) error {
	built, err := builder.BuildZtoc(layer, spanBytes)
	if err != nil {
		return err
	}
	encoded, _, err := ztoc.Marshal(built)
	if err != nil {
		return err
	}
	file, err := os.Create(out)
	if err != nil {
		return err
	}
	if _, err := io.Copy(file, encoded); err != nil {
		return err
	}
	return file.Close()
}
