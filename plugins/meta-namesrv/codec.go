package main

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
)

// upstream is the namespace of Apache RocketMQ MQTT. Its keys and values are written unencoded.
const upstream = "LMQ"

// stamp orders the writes of a key. The writer breaks ties between gateways.
type stamp struct {
	revision int64
	writer   string
}

func (s stamp) before(o stamp) bool {
	if s.revision != o.revision {
		return s.revision < o.revision
	}
	return s.writer < o.writer
}

// item is a decoded value of a name server.
type item struct {
	stamp
	// removed marks a tombstone, which is kept so that a name server that missed the removal does not bring the key back.
	removed bool
	value   []byte
	// raw is the undecoded text.
	raw string
	// foreign is true for text that is not in lmqgate's encoding: in the namespace LMQ, or written by hand.
	foreign bool
}

// encodeItem writes a value as text that JSON, kvconfig's file and mqadmin all carry unchanged:
// "1:" revision ":" writer ":" p or d ":" base64url.
func encodeItem(s stamp, removed bool, value []byte) string {
	kind := "p"
	if removed {
		kind, value = "d", nil
	}
	return "1:" + strconv.FormatInt(s.revision, 10) + ":" + s.writer + ":" + kind + ":" + base64.RawURLEncoding.EncodeToString(value)
}

// decodeItem decodes a value of one of lmqgate's namespaces. Text in another encoding is a value written by hand; any value that a gateway
// wrote takes precedence.
func decodeItem(raw string) item {
	byHand := item{value: []byte(raw), raw: raw, foreign: true}
	rest, ok := strings.CutPrefix(raw, "1:")
	if !ok {
		return byHand
	}
	parts := strings.SplitN(rest, ":", 4)
	if len(parts) != 4 || parts[2] != "p" && parts[2] != "d" {
		return byHand
	}
	revision, err := strconv.ParseInt(parts[0], 10, 64)
	if err != nil || revision < 1 {
		return byHand
	}
	value, err := base64.RawURLEncoding.DecodeString(parts[3])
	if err != nil {
		return byHand
	}
	return item{stamp: stamp{revision, parts[1]}, removed: parts[2] == "d", value: value, raw: raw}
}

// encodeKey writes a key in printable ASCII. Every other byte becomes "~" and two hexadecimal digits. "~" alone is the empty key.
func encodeKey(key string) string {
	if key == "" {
		return "~"
	}
	plain := true
	for i := range len(key) {
		plain = plain && keyByte(key[i])
	}
	if plain {
		return key
	}
	var b strings.Builder
	for i := range len(key) {
		if c := key[i]; keyByte(c) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "~%02x", c)
		}
	}
	return b.String()
}

// keyByte reports whether a byte of a key needs no escape in JSON, in a shell or in RocketMQ's own text formats.
func keyByte(c byte) bool {
	return c > 0x20 && c < 0x7f && !strings.ContainsRune("\"\\~'`,;=:<>&|!*?(){}[]^", rune(c))
}

// decodeKey decodes a key; ok is false for text that encodeKey never writes.
func decodeKey(text string) (key string, ok bool) {
	if text == "~" {
		return "", true
	}
	if !strings.Contains(text, "~") {
		return text, text != "" && encodeKey(text) == text
	}
	b := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] != '~' {
			b = append(b, text[i])
			continue
		}
		if i+2 >= len(text) {
			return "", false
		}
		n, err := strconv.ParseUint(text[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		b = append(b, byte(n))
		i += 2
	}
	return string(b), encodeKey(string(b)) == text
}
