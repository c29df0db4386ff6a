package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"
	graphdriver "go.podman.io/storage/drivers"
	"go.podman.io/storage/pkg/chunked"
)

// Report is what `check` says. Fallback is why a puller would fetch the whole layer instead, which is no error of its.
type Report struct {
	Partial   bool   `json:"partial"`
	Fallback  string `json:"fallback,omitempty"`
	Error     string `json:"error,omitempty"`
	DiffID    string `json:"diffID"`
	TOCDigest string `json:"tocDigest"`
	Exported  string `json:"exported"`
	Requests  int    `json:"requests"`
	Ranges    int    `json:"ranges"`
	Bytes     uint64 `json:"bytes"`
	BlobSize  int64  `json:"blobSize"`
}

func runCheck(args []string) error {
	options := flag.NewFlagSet("check", flag.ContinueOnError)
	text := options.String("annotations", "{}", "those of the layer's descriptor, as JSON")
	diffID := options.String("diff-id", "", "of the layer, as in the image's config")
	root := options.String("root", "", "an empty directory")
	paths, err := parse(options, args, 1)
	if err != nil {
		return err
	}
	annotations := map[string]string{}
	if err := json.Unmarshal([]byte(*text), &annotations); err != nil {
		return err
	}
	source, err := openSource(paths[0])
	if err != nil {
		return err
	}
	defer source.file.Close()
	store, err := openStore(*root, true)
	if err != nil {
		return err
	}
	defer store.Shutdown(true)
	report := &Report{BlobSize: source.size}
	err = pull(store, source, annotations, *diffID, report)
	if fallback, ok := errors.AsType[chunked.ErrFallbackToOrdinaryLayerDownload](err); ok {
		report.Fallback, err = fallback.Error(), nil
	} else if err != nil {
		report.Error = err.Error()
	}
	report.Requests, report.Ranges, report.Bytes = source.requests, source.ranges, source.bytes
	return errors.Join(err, say(report))
}

// pull does what a pull of podman does with one layer, then takes the layer out again.
func pull(store storage.Store, source *source, annotations map[string]string, diffID string, report *Report) error {
	blobDigest, err := source.digest()
	if err != nil {
		return err
	}
	differ, err := chunked.NewDiffer(context.Background(), store, blobDigest, source.size, annotations, source)
	if err != nil {
		return err
	}
	defer differ.Close()
	staged, err := store.PrepareStagedLayer(nil, differ)
	if err != nil {
		return err
	}
	report.Partial = true
	report.DiffID, report.TOCDigest = staged.UncompressedDigest.String(), staged.TOCDigest.String()
	if report.DiffID != diffID {
		return errors.Join(fmt.Errorf("diffID %s, not %s", report.DiffID, diffID), store.CleanupStagedLayer(staged))
	}
	layer, err := store.ApplyStagedLayer(storage.ApplyStagedLayerOptions{
		ID: "layer", DiffOutput: staged, DiffOptions: &graphdriver.ApplyDiffWithDifferOpts{},
	})
	if err != nil {
		return err
	}
	report.Exported, err = exported(store, layer)
	if err == nil && report.Exported != diffID {
		err = fmt.Errorf("exported %s, not %s", report.Exported, diffID)
	}
	return err
}

// source is a local file that answers as a registry would, and counts.
type source struct {
	file             *os.File
	size             int64
	requests, ranges int
	bytes            uint64
}

func openSource(path string) (*source, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return nil, err
	}
	return &source{file: file, size: info.Size()}, nil
}

func (s *source) digest() (digest.Digest, error) {
	return digest.Canonical.FromReader(io.NewSectionReader(s.file, 0, s.size))
}

func (s *source) GetBlobAt(chunks []chunked.ImageSourceChunk) (chan io.ReadCloser, chan error, error) {
	s.requests++
	s.ranges += len(chunks)
	streams, failures := make(chan io.ReadCloser), make(chan error)
	for _, chunk := range chunks {
		if chunk.Offset+chunk.Length > uint64(s.size) {
			return nil, nil, fmt.Errorf("range %d+%d of a blob of %d bytes", chunk.Offset, chunk.Length, s.size)
		}
		s.bytes += chunk.Length
	}
	go func() {
		defer close(streams)
		defer close(failures)
		for _, chunk := range chunks {
			streams <- io.NopCloser(io.NewSectionReader(s.file, int64(chunk.Offset), int64(chunk.Length)))
		}
	}()
	return streams, failures, nil
}
