package main

import (
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/containerd/stargz-snapshotter/estargz"
	"github.com/containerd/stargz-snapshotter/estargz/zstdchunked"
	"github.com/containerd/stargz-snapshotter/metadata"
)

// Blob is an open file and what its kind is decompressed with.
type Blob struct {
	*io.SectionReader
	file *os.File
	zstd bool
}

// openArgument opens the blob that is the first of n arguments, and gives all of them.
func openArgument(options *flag.FlagSet, args []string, n int) (*Blob, []string, error) {
	zstd := options.Bool("zstd", false, "zstd:chunked, not eStargz")
	paths, err := parse(options, args, n)
	if err != nil {
		return nil, nil, err
	}
	blob, err := openBlob(paths[0], *zstd)
	return blob, paths, err
}

func openBlob(path string, zstd bool) (*Blob, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return nil, err
	}
	return &Blob{io.NewSectionReader(file, 0, info.Size()), file, zstd}, nil
}

func (b *Blob) close() { b.file.Close() }

func (b *Blob) decompressor() metadata.Decompressor {
	if b.zstd {
		return new(zstdchunked.Decompressor)
	}
	return new(estargz.GzipDecompressor)
}

// toc is the table of contents as the library parses it, without the checks of its reader.
func (b *Blob) toc() (*estargz.JTOC, error) {
	decompressor := b.decompressor()
	size := decompressor.FooterSize()
	if b.Size() < size {
		return nil, fmt.Errorf("blob of %d bytes has no footer", b.Size())
	}
	footer := make([]byte, size)
	if _, err := b.ReadAt(footer, b.Size()-size); err != nil {
		return nil, err
	}
	_, offset, length, err := decompressor.ParseFooter(footer)
	if err != nil {
		return nil, err
	}
	if length <= 0 {
		length = b.Size() - offset - size
	}
	toc, _, err := decompressor.ParseTOC(io.NewSectionReader(b, offset, length))
	return toc, err
}
