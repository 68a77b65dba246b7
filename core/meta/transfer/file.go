package transfer

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// formatVersion is in the first line of a file. A higher version is refused.
const formatVersion = 1

// maxLine bounds a line of a file, in bytes: the largest value of any backend, in base64, with a long key.
const maxLine = 16 << 20

// The lines of a file, each a JSON object: a head, an item for each entry in order of namespace and key, and a tail.
type (
	headLine struct {
		Version int       `json:"lmqgate_meta_export"`
		Plugin  string    `json:"plugin"`
		Created time.Time `json:"created"`
	}
	itemLine struct {
		Namespace string `json:"n"`
		Key       string `json:"k"`
		Value     []byte `json:"v"` // base64
	}
	tailLine struct {
		End     bool   `json:"end"`
		Entries int64  `json:"entries"`
		Bytes   int64  `json:"bytes"`
		SHA256  string `json:"sha256"`
	}
	anyLine struct {
		itemLine
		tailLine
	}
)

// Export writes a backend's namespaces to w. The file is complete only with its last line, which contains the totals and the digest
// (Sum.Digest).
func Export(ctx context.Context, w io.Writer, client pluginv1.MetaClient, plugin string, now time.Time, o Options) (*Sum, error) {
	out := bufio.NewWriter(w)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(headLine{formatVersion, plugin, now.UTC().Truncate(time.Second)}); err != nil {
		return nil, err
	}
	s := newScan(ctx, client, o.sorted())
	defer s.close()
	sum := &Sum{}
	for {
		e, err := s.next()
		if err != nil {
			return nil, err
		}
		if e == nil {
			break
		}
		if _, keep := o.lifetime(e); !keep {
			continue
		}
		sum.add(e)
		if err := enc.Encode(itemLine{e.Namespace, e.Key, e.Value}); err != nil {
			return nil, err
		}
	}
	if err := enc.Encode(tailLine{true, sum.Entries, sum.Bytes, sum.Digest()}); err != nil {
		return nil, err
	}
	return sum, out.Flush()
}

// file is the cursor of an exported file. It checks order, counts and digest, and returns the end only after all of these checks.
type file struct {
	in   *bufio.Reader
	line int
	last *Entry
	sum  Sum
	done bool
}

// ErrTruncated says that a file has no last line, so that something is missing.
var ErrTruncated = errors.New("the file is truncated: its last line is missing; export it again")

func openFile(r io.Reader) (*file, error) {
	f := &file{in: bufio.NewReaderSize(r, 64<<10)}
	data, err := f.read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the file is empty")
	}
	if err != nil {
		return nil, err
	}
	var h headLine
	if json.Unmarshal(data, &h) != nil || h.Version == 0 {
		return nil, errors.New("line 1: this is no file of lmqgate meta export")
	}
	if h.Version > formatVersion {
		return nil, fmt.Errorf(
			"the file has format version %d, this lmqgate reads up to %d; use the newer lmqgate",
			h.Version,
			formatVersion,
		)
	}
	return f, nil
}

// read returns the next line.
func (f *file) read() ([]byte, error) {
	f.line++
	var line []byte
	for {
		part, err := f.in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxLine:
			return nil, fmt.Errorf("line %d is longer than %d bytes", f.line, maxLine)
		case err == nil:
			return line, nil
		case errors.Is(err, io.EOF) && len(line) > 0:
			return nil, ErrTruncated // every complete line ends with a line feed
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

func (f *file) next() (*Entry, error) {
	if f.done {
		return nil, nil //nolint:nilnil // the end
	}
	data, err := f.read()
	if errors.Is(err, io.EOF) {
		return nil, ErrTruncated
	}
	if err != nil {
		return nil, err
	}
	var l anyLine
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&l); err != nil {
		return nil, fmt.Errorf("line %d: %w", f.line, err)
	}
	if l.End {
		return nil, f.finish(l.tailLine)
	}
	e := &Entry{l.Namespace, l.Key, l.Value}
	if e.Namespace == "" {
		return nil, fmt.Errorf("line %d: it has no namespace", f.line)
	}
	if f.last != nil && order(f.last, e) >= 0 {
		return nil, fmt.Errorf(
			"line %d: %s %q does not come after %s %q; the file was changed",
			f.line,
			e.Namespace,
			e.Key,
			f.last.Namespace,
			f.last.Key,
		)
	}
	f.last = e
	f.sum.add(e)
	return e, nil
}

func (f *file) finish(t tailLine) error {
	switch {
	case t.Entries != f.sum.Entries || t.Bytes != f.sum.Bytes:
		return fmt.Errorf(
			"the file holds %d entries and %d bytes, its last line says %d and %d: lines are missing",
			f.sum.Entries,
			f.sum.Bytes,
			t.Entries,
			t.Bytes,
		)
	case t.SHA256 != f.sum.Digest():
		return errors.New("the digest of the last line does not fit: the file was changed")
	}
	if _, err := f.in.ReadByte(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("line %d: something follows the last line", f.line+1)
	}
	f.done = true
	return nil
}

func (f *file) close() {}

// Verify reads a whole file. It returns the totals and namespaces, or an error that says what is wrong with the file.
func Verify(r io.Reader) (*Sum, []string, error) {
	f, err := openFile(r)
	if err != nil {
		return nil, nil, err
	}
	var namespaces []string
	for {
		e, err := f.next()
		if err != nil {
			return nil, nil, err
		}
		if e == nil {
			return &f.sum, namespaces, nil
		}
		if n := len(namespaces); n == 0 || namespaces[n-1] != e.Namespace {
			namespaces = append(namespaces, e.Namespace)
		}
	}
}

// CompareFile compares a file with a backend, as Compare does.
func CompareFile(ctx context.Context, r io.Reader, to pluginv1.MetaClient, o Options, fn func(Difference) error) (*Sums, error) {
	f, err := openFile(r)
	if err != nil {
		return nil, err
	}
	return compare(f, newScan(ctx, to, o.sorted()), &o, fn)
}

// Import writes the entries of a file that a backend lacks, and with overwrite also those that have another value there. It removes
// nothing, and leaves out values that are no longer needed. It is idempotent: importing a file again writes nothing.
func Import(ctx context.Context, r io.Reader, to pluginv1.MetaClient, o Options, overwrite bool) (Changes, error) {
	b := newBatch(to)
	var done Changes
	_, err := CompareFile(ctx, r, to, o, func(d Difference) error {
		if d.A == nil || d.B != nil && !overwrite {
			return nil
		}
		ttl, keep := o.lifetime(d.A)
		if !keep {
			return nil
		}
		done.Written++
		return b.put(ctx, d.A, ttl)
	})
	if err == nil {
		err = b.flush(ctx)
	}
	return done, err
}
