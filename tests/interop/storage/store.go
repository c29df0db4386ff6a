package main

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"
	"go.podman.io/storage/pkg/archive"
)

// openStore is a store of its own below root; the caller shuts it down.
func openStore(root string, partial bool) (storage.Store, error) {
	return storage.GetStore(storage.StoreOptions{
		GraphRoot:       filepath.Join(root, "graph"),
		RunRoot:         filepath.Join(root, "run"),
		GraphDriverName: "overlay",
		PullOptions:     map[string]string{"enable_partial_images": fmt.Sprint(partial)},
	})
}

// exported is the digest of the layer's tar as storage puts it together again.
func exported(store storage.Store, layer *storage.Layer) (string, error) {
	plain := archive.Uncompressed
	tar, err := store.Diff("", layer.ID, &storage.DiffOptions{Compression: &plain})
	if err != nil {
		return "", err
	}
	defer tar.Close()
	sum := digest.Canonical.Digester()
	if _, err := io.Copy(sum.Hash(), tar); err != nil {
		return "", err
	}
	return sum.Digest().String(), nil
}
