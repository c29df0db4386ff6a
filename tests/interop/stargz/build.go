package main

import (
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/containerd/stargz-snapshotter/estargz"
	"github.com/containerd/stargz-snapshotter/estargz/zstdchunked"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// Built is what `build` says of one output. Annotations are those of the layer's descriptor.
type Built struct {
	Out         string            `json:"out"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	DiffID      string            `json:"diffID"`
	TOCDigest   string            `json:"tocDigest"`
	Annotations map[string]string `json:"annotations"`
}

type compression struct {
	*zstdchunked.Decompressor
	*zstdchunked.Compressor
}

func runBuild(args []string) error {
	options := flag.NewFlagSet("build", flag.ContinueOnError)
	asZstd := options.Bool("zstdchunked", false, "zstd:chunked, not eStargz")
	level := options.Int("level", -1, "default: 9, of zstd 3")
	chunkSize := options.Int("chunk-size", 0, "0: 4 MiB")
	minChunkSize := options.Int("min-chunk-size", 0, "fewer compressed bytes than that share a member")
	prioritized := options.String("prioritized", "", "file with one path a line")
	paths, err := parse(options, args, 0)
	if err != nil {
		return err
	}
	if len(paths) == 0 || len(paths)%2 != 0 {
		return fmt.Errorf("build IN OUT [IN OUT ...]")
	}
	settings := []estargz.Option{estargz.WithChunkSize(*chunkSize), estargz.WithMinChunkSize(*minChunkSize)}
	if *prioritized != "" {
		files, err := lines(*prioritized)
		if err != nil {
			return err
		}
		var missed []string
		settings = append(settings, estargz.WithPrioritizedFiles(files), estargz.WithAllowPrioritizeNotFound(&missed))
	}
	results := make([]*Built, len(paths)/2)
	var group errgroup.Group
	for i := range results {
		group.Go(func() (err error) {
			results[i], err = build(paths[2*i], paths[2*i+1], *asZstd, *level, settings)
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

// build does what the converters of ctr-remote and nerdctl do for a layer, with files for the content store.
func build(in, out string, asZstd bool, level int, settings []estargz.Option) (*Built, error) {
	source, err := openBlob(in, false)
	if err != nil {
		return nil, err
	}
	defer source.close()
	annotations := map[string]string{}
	mine := append([]estargz.Option{}, settings...)
	if asZstd {
		if level < 0 {
			level = 3
		}
		mine = append(mine, estargz.WithCompression(&compression{
			new(zstdchunked.Decompressor),
			&zstdchunked.Compressor{CompressionLevel: zstd.EncoderLevelFromZstd(level), Metadata: annotations},
		}))
	} else {
		if level < 0 {
			level = gzip.BestCompression
		}
		mine = append(mine, estargz.WithCompressionLevel(level))
	}
	blob, err := estargz.Build(source.SectionReader, mine...)
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	file, err := os.Create(out)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	stored := sha256.New()
	n, err := io.Copy(io.MultiWriter(file, stored), blob)
	if err != nil {
		return nil, err
	}
	if err := blob.Close(); err != nil {
		return nil, err
	}
	size, err := blob.UncompressedSize()
	if err != nil {
		return nil, err
	}
	annotations[estargz.TOCJSONDigestAnnotation] = blob.TOCDigest().String()
	annotations[estargz.StoreUncompressedSizeAnnotation] = fmt.Sprint(size)
	return &Built{
		out, digest.NewDigest(digest.SHA256, stored).String(), n,
		blob.DiffID().String(), blob.TOCDigest().String(), annotations,
	}, file.Close()
}

func lines(path string) ([]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var found []string
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		if line := scanner.Text(); line != "" {
			found = append(found, line)
		}
	}
	return found, nil
}

func runUnpack(args []string) error {
	options := flag.NewFlagSet("unpack", flag.ContinueOnError)
	blob, paths, err := openArgument(options, args, 2)
	if err != nil {
		return err
	}
	defer blob.close()
	stream, err := estargz.Unpack(blob.SectionReader, blob.decompressor())
	if err != nil {
		return err
	}
	defer stream.Close()
	out, err := os.Create(paths[1])
	if err != nil {
		return err
	}
	defer out.Close()
	_, err = io.Copy(out, stream)
	return err
}
