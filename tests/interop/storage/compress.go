package main

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/pkg/compression"
	"go.podman.io/storage/pkg/chunked/compressor"
	"golang.org/x/sync/errgroup"
)

// Compressed is what `compress` says of one output. Annotations are those of the layer's descriptor.
type Compressed struct {
	Out         string            `json:"out"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	DiffID      string            `json:"diffID"`
	Annotations map[string]string `json:"annotations"`
}

func runCompress(args []string) error {
	options := flag.NewFlagSet("compress", flag.ContinueOnError)
	level := options.Int("level", 3, "of zstd")
	paths, err := parse(options, args, 0)
	if err != nil {
		return err
	}
	if len(paths) == 0 || len(paths)%2 != 0 {
		return fmt.Errorf("compress IN OUT [IN OUT ...]")
	}
	results := make([]*Compressed, len(paths)/2)
	var group errgroup.Group
	for i := range results {
		group.Go(func() (err error) {
			results[i], err = compress(paths[2*i], paths[2*i+1], *level)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, result := range results {
		if err := say(result); err != nil {
			return err
		}
	}
	return nil
}

// compress does what a copy with --dest-compress-format zstd:chunked does for a layer.
func compress(in, out string, level int) (*Compressed, error) {
	source, err := os.Open(in)
	if err != nil {
		return nil, err
	}
	defer source.Close()
	tar, _, err := compression.AutoDecompress(source)
	if err != nil {
		return nil, err
	}
	defer tar.Close()
	file, err := os.Create(out)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	stored, uncompressed := sha256.New(), sha256.New()
	annotations := map[string]string{}
	writer, err := compressor.ZstdCompressor(io.MultiWriter(file, stored), annotations, &level)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.MultiWriter(writer, uncompressed), tar); err != nil {
		return nil, err
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	return &Compressed{
		out, digest.NewDigest(digest.SHA256, stored).String(), info.Size(),
		digest.NewDigest(digest.SHA256, uncompressed).String(), annotations,
	}, file.Close()
}
