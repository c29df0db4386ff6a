// Gogzip compresses standard input with compress/gzip, the writer of most image layers.
package main

import (
	"compress/gzip"
	"flag"
	"io"
	"log"
	"os"
	"time"
)

func main() {
	level := flag.Int("level", gzip.DefaultCompression, "compression level, -2 (Huffman only) to 9")
	flush := flag.Int("flush", 0, "call Flush after every so many bytes (0: never)")
	twice := flag.Bool("twice", false, "call Flush twice each time, which writes empty blocks")
	members := flag.Int("members", 0, "begin a new member after every so many bytes (0: never)")
	name := flag.String("name", "", "file name, comment and extra field of the header")
	flag.Parse()

	data, err := io.ReadAll(os.Stdin)
	check(err)
	for {
		part := data
		if *members > 0 && len(part) > *members {
			part = part[:*members]
		}
		data = data[len(part):]
		w, err := gzip.NewWriterLevel(os.Stdout, *level)
		check(err)
		if *name != "" {
			w.Header = gzip.Header{Name: *name, Comment: *name, Extra: []byte(*name), ModTime: time.Unix(1, 0), OS: 3}
		}
		write(w, part, *flush, *twice)
		check(w.Close())
		if len(data) == 0 {
			return
		}
	}
}

func write(w *gzip.Writer, data []byte, flush int, twice bool) {
	for flush > 0 && len(data) > flush {
		_, err := w.Write(data[:flush])
		check(err)
		check(w.Flush())
		if twice {
			check(w.Flush())
		}
		data = data[flush:]
	}
	_, err := w.Write(data)
	check(err)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
