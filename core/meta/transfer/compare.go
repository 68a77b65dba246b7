package transfer

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// Options selects what is transferred.
type Options struct {
	// Namespaces are the namespaces to transfer.
	Namespaces []string
	// Lifetime returns how long a value is still needed (0: for ever), and whether it is needed at all. Nil: every value is needed for
	// ever.
	Lifetime func(namespace string, value []byte) (ttl time.Duration, keep bool)
}

// fleeting: entries that expire within this time are left out of comparisons, because each backend removes them at its own time.
const fleeting = 2 * time.Minute

func (o *Options) sorted() []string { return slices.Sorted(slices.Values(o.Namespaces)) }

func (o *Options) lifetime(e *Entry) (time.Duration, bool) {
	if o.Lifetime == nil {
		return 0, true
	}
	return o.Lifetime(e.Namespace, e.Value)
}

// lasting reports whether both sides of a comparison must have an entry.
func (o *Options) lasting(e *Entry) bool {
	ttl, keep := o.lifetime(e)
	return keep && (ttl == 0 || ttl > fleeting)
}

// Difference is an entry in which the two sides differ. A is nil if only the second side has it, B is nil if only the first has it.
type Difference struct{ A, B *Entry }

// String names the entry and the kind of difference, without the values.
func (d Difference) String() string {
	switch {
	case d.B == nil:
		return fmt.Sprintf("%s %q is missing", d.A.Namespace, d.A.Key)
	case d.A == nil:
		return fmt.Sprintf("%s %q is there in addition", d.B.Namespace, d.B.Key)
	default:
		return fmt.Sprintf("%s %q has another value", d.A.Namespace, d.A.Key)
	}
}

// Sums are the sums of both sides of a comparison, without entries that will not last.
type Sums struct{ A, B Sum }

// compare walks through both cursors and calls f for each difference, in order.
func compare(a, b cursor, o *Options, f func(Difference) error) (*Sums, error) {
	defer a.close()
	defer b.close()
	sums := &Sums{}
	x, err := a.next()
	if err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	y, err := b.next()
	if err != nil {
		return nil, fmt.Errorf("target: %w", err)
	}
	for x != nil || y != nil {
		c := order(x, y)
		if c <= 0 && o.lasting(x) {
			sums.A.add(x)
		}
		if c >= 0 && o.lasting(y) {
			sums.B.add(y)
		}
		switch {
		case c < 0:
			err = f(Difference{A: x})
		case c > 0:
			err = f(Difference{B: y})
		case !bytes.Equal(x.Value, y.Value):
			err = f(Difference{A: x, B: y})
		}
		if err != nil {
			return nil, err
		}
		if c <= 0 {
			if x, err = a.next(); err != nil {
				return nil, fmt.Errorf("source: %w", err)
			}
		}
		if c >= 0 {
			if y, err = b.next(); err != nil {
				return nil, fmt.Errorf("target: %w", err)
			}
		}
	}
	return sums, nil
}

// order compares the namespaces and keys of two entries; nil comes last.
func order(x, y *Entry) int {
	switch {
	case x == nil:
		return 1
	case y == nil:
		return -1
	case x.Namespace != y.Namespace:
		return bytes.Compare([]byte(x.Namespace), []byte(y.Namespace))
	default:
		return bytes.Compare([]byte(x.Key), []byte(y.Key))
	}
}

// Compare compares two backends and calls f for each difference, in order of namespace and key. f may be nil.
func Compare(ctx context.Context, from, to pluginv1.MetaClient, o Options, f func(Difference) error) (*Sums, error) {
	if f == nil {
		f = func(Difference) error { return nil }
	}
	return compare(newScan(ctx, from, o.sorted()), newScan(ctx, to, o.sorted()), &o, f)
}
