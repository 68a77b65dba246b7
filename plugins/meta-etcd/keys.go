package main

import (
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// keys builds the names in etcd: prefix/namespace/key. The key is unescaped, so that etcd's order is the order of keys and etcdctl shows
// them. In the namespace "/" is written %2F and "%" is written %25. So the namespace ends at the first "/", and no two pairs of namespace
// and key share a name.
type keys struct{ prefix string }

var escapeNamespace = strings.NewReplacer("%", "%25", "/", "%2F")

// newKeys accepts the configured prefix with or without a trailing "/".
func newKeys(prefix string) keys { return keys{strings.TrimRight(prefix, "/") + "/"} }

// namespace returns the prefix of the names of a namespace's keys.
func (k keys) namespace(ns string) string { return k.prefix + escapeNamespace.Replace(ns) + "/" }

// name returns the name of a key.
func (k keys) name(ns, key string) string { return k.namespace(ns) + key }

// ends returns the first name after all names that begin with the given name.
func ends(name string) string { return clientv3.GetPrefixRangeEnd(name) }
