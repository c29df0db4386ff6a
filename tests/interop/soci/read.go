package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/awslabs/soci-snapshotter/cache"
	"github.com/awslabs/soci-snapshotter/fs/reader"
	spanmanager "github.com/awslabs/soci-snapshotter/fs/span-manager"
	"github.com/awslabs/soci-snapshotter/metadata"
	"github.com/awslabs/soci-snapshotter/ztoc"
	"github.com/opencontainers/go-digest"
	bolt "go.etcd.io/bbolt"
)

// File is one path of the layer as the snapshotter would show it. Paths are hexadecimal: they need not be UTF-8.
type File struct {
	Path    string            `json:"path"`
	Type    string            `json:"type"`
	Perm    uint32            `json:"perm"`
	Size    int64             `json:"size"`
	ModTime string            `json:"mod_time"`
	Link    string            `json:"link"`
	UID     int               `json:"uid"`
	GID     int               `json:"gid"`
	Major   int               `json:"major"`
	Minor   int               `json:"minor"`
	Node    uint32            `json:"node"`
	Xattrs  map[string]string `json:"xattrs"`
	SHA256  string            `json:"sha256"`
	Error   string            `json:"error"`
}

// read walks the layer from its root and reads each regular file whole, with the header verification that mounts use.
func read(layerPath, ztocPath string, emit func(File) error) error {
	ztocFile, err := os.Open(ztocPath)
	if err != nil {
		return err
	}
	defer ztocFile.Close()
	toc, err := ztoc.Unmarshal(ztocFile)
	if err != nil {
		return fmt.Errorf("unmarshal: %w", err)
	}
	layer, err := os.Open(layerPath)
	if err != nil {
		return err
	}
	defer layer.Close()
	section := io.NewSectionReader(layer, 0, int64(toc.CompressedArchiveSize))

	dbFile, err := os.CreateTemp("", "interop-*.db")
	if err != nil {
		return err
	}
	defer os.Remove(dbFile.Name())
	dbFile.Close()
	db, err := bolt.Open(dbFile.Name(), 0o600, &bolt.Options{NoSync: true, NoFreelistSync: true})
	if err != nil {
		return err
	}
	defer db.Close()
	nodes, err := metadata.NewReader(db, section, toc.TOC)
	if err != nil {
		return fmt.Errorf("metadata: %w", err)
	}
	spans, err := spanmanager.New(toc, section, cache.NewMemoryCache(), 0, digest.FromString("layer"))
	if err != nil {
		return fmt.Errorf("spans: %w", err)
	}
	files, err := reader.NewReader(nodes, digest.FromString("layer"), spans, false)
	if err != nil {
		return fmt.Errorf("reader: %w", err)
	}
	return walk(nodes, files, nodes.RootID(), "", emit)
}

func walk(nodes metadata.Reader, files reader.Reader, id uint32, path string, emit func(File) error) error {
	attr, err := nodes.GetAttr(id)
	if err != nil {
		return fmt.Errorf("%q: %w", path, err)
	}
	file := File{
		Path: hex.EncodeToString([]byte(path)), Type: typeOf(attr.Mode), Perm: perm(attr.Mode), Size: attr.Size,
		ModTime: attr.ModTime.UTC().Format(time.RFC3339Nano), Link: hex.EncodeToString([]byte(attr.LinkName)),
		UID: attr.UID, GID: attr.GID, Major: attr.DevMajor, Minor: attr.DevMinor, Node: id, Xattrs: map[string]string{},
	}
	for key, value := range attr.Xattrs {
		file.Xattrs[hex.EncodeToString([]byte(key))] = hex.EncodeToString(value)
	}
	if attr.Mode.IsRegular() {
		if file.SHA256, err = sum(files, id, attr.Size); err != nil {
			file.Error = err.Error()
		}
	}
	if err := emit(file); err != nil {
		return err
	}
	if !attr.Mode.IsDir() {
		return nil
	}
	var children []struct {
		name string
		id   uint32
	}
	err = nodes.ForeachChild(id, func(name string, child uint32, _ os.FileMode) bool {
		if child != id { // an entry for the root itself makes it a child of its own
			children = append(children, struct {
				name string
				id   uint32
			}{name, child})
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("%q: %w", path, err)
	}
	for _, child := range children {
		childPath := child.name
		if path != "" {
			childPath = path + "/" + child.name
		}
		if err := walk(nodes, files, child.id, childPath, emit); err != nil {
			return err
		}
	}
	return nil
}

func sum(files reader.Reader, id uint32, size int64) (string, error) {
	file, err := files.OpenFile(id)
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	buffer := make([]byte, 1<<20)
	for offset := int64(0); offset < size; {
		n, err := file.ReadAt(buffer[:min(int64(len(buffer)), size-offset)], offset)
		if err != nil {
			return "", err
		}
		hash.Write(buffer[:n])
		offset += int64(n)
	}
	// Verifies the header of empty files too.
	if _, err := file.ReadAt(buffer[:1], size); !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read past the end: %v", err)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

func typeOf(mode os.FileMode) string {
	switch {
	case mode.IsRegular():
		return "reg"
	case mode.IsDir():
		return "dir"
	case mode&os.ModeSymlink != 0:
		return "symlink"
	case mode&os.ModeNamedPipe != 0:
		return "fifo"
	case mode&os.ModeCharDevice != 0:
		return "char"
	case mode&os.ModeDevice != 0:
		return "block"
	}
	return mode.String()
}

func perm(mode os.FileMode) uint32 {
	bits := uint32(mode.Perm())
	for _, special := range []struct {
		mode os.FileMode
		bit  uint32
	}{{os.ModeSetuid, 0o4000}, {os.ModeSetgid, 0o2000}, {os.ModeSticky, 0o1000}} {
		if mode&special.mode != 0 {
			bits |= special.bit
		}
	}
	return bits
}
