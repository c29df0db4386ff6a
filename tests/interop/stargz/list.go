package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/containerd/stargz-snapshotter/cache"
	"github.com/containerd/stargz-snapshotter/estargz"
	"github.com/containerd/stargz-snapshotter/fs/reader"
	"github.com/containerd/stargz-snapshotter/metadata"
	"github.com/containerd/stargz-snapshotter/metadata/memory"
	"github.com/opencontainers/go-digest"
)

// File is a path of the layer as the snapshotter's filesystem has it. Names and xattrs are hex, as JSON spoils bytes.
type File struct {
	Path   string            `json:"path"`
	Type   string            `json:"type"`
	Perm   int64             `json:"perm"`
	Size   int64             `json:"size"`
	Time   string            `json:"mod_time"`
	Link   string            `json:"link"`
	UID    int               `json:"uid"`
	GID    int               `json:"gid"`
	Major  int               `json:"major"`
	Minor  int               `json:"minor"`
	Xattrs map[string]string `json:"xattrs"`
	SHA256 string            `json:"sha256"`
	Node   uint32            `json:"node"`
	Error  string            `json:"error"`
}

func runList(args []string) error {
	options := flag.NewFlagSet("list", flag.ContinueOnError)
	tocDigest := options.String("toc-digest", "", "the annotation containerd.io/snapshot/stargz/toc.digest")
	blob, paths, err := openArgument(options, args, 1)
	if err != nil {
		return err
	}
	defer blob.close()
	meta, err := memory.NewReader(blob.SectionReader, metadata.WithDecompressors(blob.decompressor()))
	if err != nil {
		return err
	}
	all, err := reader.NewReader(meta, cache.NewMemoryCache(), digest.FromString(paths[0]))
	if err != nil {
		return err
	}
	defer all.Close()
	verified, err := all.VerifyTOC(digest.Digest(*tocDigest))
	if err != nil {
		return err
	}
	if err := all.Cache(reader.WithReader(blob.SectionReader)); err != nil {
		return fmt.Errorf("fetch in the background: %w", err)
	}
	lister := &lister{meta, verified, json.NewEncoder(os.Stdout), map[uint32]string{}}
	return lister.node("", meta.RootID())
}

type lister struct {
	meta     metadata.Reader
	verified reader.Reader
	out      *json.Encoder
	contents map[uint32]string
}

func (l *lister) node(name string, id uint32) error {
	attr, err := l.meta.GetAttr(id)
	if err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	file := described(name, id, attr)
	if attr.Mode.IsRegular() {
		if file.SHA256, err = l.content(id, attr.Size); err != nil {
			file.Error = err.Error()
		}
	}
	if err := l.out.Encode(file); err != nil || !attr.Mode.IsDir() {
		return err
	}
	children := map[string]uint32{}
	err = l.meta.ForeachChild(id, func(base string, child uint32, _ os.FileMode) bool {
		if base != "" && !(name == "" && (base == estargz.TOCTarName)) {
			children[base] = child
		}
		return true
	})
	if err != nil {
		return err
	}
	for base, child := range children {
		if err := l.node(path.Join(name, base), child); err != nil {
			return err
		}
	}
	return nil
}

func (l *lister) content(id uint32, size int64) (string, error) {
	if found, ok := l.contents[id]; ok {
		return found, nil
	}
	file, err := l.verified.OpenFile(id)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(file, 0, size)); err != nil {
		return "", err
	}
	l.contents[id] = hex.EncodeToString(sum.Sum(nil))
	return l.contents[id], nil
}

func described(name string, id uint32, attr metadata.Attr) File {
	xattrs := map[string]string{}
	for key, value := range attr.Xattrs {
		xattrs[hex.EncodeToString([]byte(key))] = hex.EncodeToString(value)
	}
	file := File{
		Path: hex.EncodeToString([]byte(name)), Type: typeOf(attr.Mode), Perm: permissions(attr.Mode), Size: attr.Size,
		Time: attr.ModTime.UTC().Format("2006-01-02T15:04:05.999999999Z"), Link: hex.EncodeToString([]byte(attr.LinkName)),
		UID: attr.UID, GID: attr.GID, Major: attr.DevMajor, Minor: attr.DevMinor, Xattrs: xattrs, Node: id,
	}
	if !attr.Mode.IsRegular() {
		file.Size = 0
	}
	return file
}

func typeOf(mode fs.FileMode) string {
	switch {
	case mode.IsRegular():
		return "reg"
	case mode.IsDir():
		return "dir"
	case mode&fs.ModeSymlink != 0:
		return "symlink"
	case mode&fs.ModeNamedPipe != 0:
		return "fifo"
	case mode&fs.ModeCharDevice != 0:
		return "char"
	case mode&fs.ModeDevice != 0:
		return "block"
	}
	return mode.String()
}

func permissions(mode fs.FileMode) int64 {
	bits := int64(mode.Perm())
	for _, bit := range []struct {
		of   fs.FileMode
		unix int64
	}{{fs.ModeSetuid, 0o4000}, {fs.ModeSetgid, 0o2000}, {fs.ModeSticky, 0o1000}} {
		if mode&bit.of != 0 {
			bits |= bit.unix
		}
	}
	return bits
}
