package limits

import "net/netip"

// SourceOf returns the address that connections are counted by. An IPv6 host usually has a network of 64 bits for itself, so only those
// count. For an invalid address it is invalid.
func SourceOf(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	out, _ := addr.Prefix(bits)
	return out
}

// Network is a source, or a network around it that one party may have as a whole.
type Network struct {
	netip.Prefix
	// Share is how many times as much the network may do as one source.
	Share int
}

// wider are the networks that providers usually give to one customer. Their shares are far below the number of sources in them, so that who
// has such a network counts as a few sources, and above one, because a provider may also spread many customers over one.
var wider = []struct{ bits, share int }{{56, 4}, {48, 16}}

// NetworksOf returns a source and the networks around it, the narrowest first; nil if the source is invalid.
func NetworksOf(source netip.Prefix) []Network {
	if !source.IsValid() {
		return nil
	}
	out := []Network{{source, 1}}
	if source.Addr().Is4() {
		return out
	}
	for _, w := range wider {
		if w.bits < source.Bits() {
			around, _ := source.Addr().Prefix(w.bits)
			out = append(out, Network{around, w.share})
		}
	}
	return out
}

// ShareOf returns the Share of a network that NetworksOf has returned.
func ShareOf(network netip.Prefix) int {
	for _, w := range wider {
		if network.Addr().Is6() && network.Bits() == w.bits {
			return w.share
		}
	}
	return 1
}
