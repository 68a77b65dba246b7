package topic

import "strings"

// P2PBuckets is the number of buckets that P2PBucket spreads client ids over. All nodes of a cluster must agree on it, so it never changes.
const P2PBuckets = 64

// P2PQueue returns the queue of messages sent to one client, "/p2p/{clientId}/" in the words of Apache RocketMQ MQTT. No
// topic name or filter has this queue.
func P2PQueue(clientID string) string { return own("/p2p/", clientID) }

// RetryQueue returns the queue in which Apache RocketMQ MQTT keeps a client's unacknowledged messages, "/retry/{clientId}/". No topic name
// or filter has this queue.
func RetryQueue(clientID string) string { return own("/retry/", clientID) }

// ExchangeQueue returns the queue of the QoS 2 messages that a durable session sent to a first-level topic. No topic name or
// filter has this queue.
func ExchangeQueue(first, clientID string) string {
	return fit(escape("/qos2/"+first+"/"+clientID+"/", suffixOwn), First(first))
}

// SessionQueue returns the queue of the state that a durable session keeps in the store. No topic name or filter has this queue.
func SessionQueue(clientID string) string {
	return fit(escape("/session/"+clientID+"/", suffixOwn), "session")
}

func own(prefix, clientID string) string {
	name := prefix + clientID + "/"
	if plain(clientID) {
		return fit(replaced(name), First(name))
	}
	return fit(escape(name, suffixOwn), First(name))
}

// P2PTarget returns the client that a point-to-point topic name, "{first}/p2p/{clientId}", addresses. The client id is everything after
// "p2p/", so it may contain "/". One trailing "/" is not part of it, because the name is normalised as in Apache RocketMQ MQTT (to reach a
// client whose id ends in "/", append one more). A leading "/" before the first-level topic is skipped. An empty client id is no target.
func P2PTarget(name string) (clientID string, ok bool) {
	_, rest, more := cut(strings.TrimPrefix(name, "/"))
	if !more {
		return "", false
	}
	clientID, ok = strings.CutPrefix(rest, "p2p/")
	if !ok {
		return "", false
	}
	clientID = strings.TrimSuffix(clientID, "/")
	return clientID, clientID != ""
}

// P2PBucket returns the queue of the client's bucket: point-to-point messages to any client in the bucket have an entry there, and the
// nodes of these clients tail it.
func P2PBucket(clientID string) string {
	// FNV-1a: any fixed spread would do; it is spelled out because all nodes, of all versions, must agree.
	h := uint32(2166136261)
	for i := 0; i < len(clientID); i++ {
		h ^= uint32(clientID[i])
		h *= 16777619
	}
	n := h % P2PBuckets
	return "p2pbucket%" + string([]byte{'0' + byte(n/10), '0' + byte(n%10)}) + suffixBucket
}

// InboxQueue returns the queue that one node of a cluster reads. No topic name or filter has this queue.
func InboxQueue(node string) string { return fit(escape("/inbox/"+node+"/", suffixOwn), "inbox") }
