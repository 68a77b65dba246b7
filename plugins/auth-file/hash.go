package main

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// Bounds on the cost of a hash: the gateway waits three seconds for an answer, and each hash in progress holds its memory.
const (
	maxBcryptCost    = 15
	maxBcryptBytes   = 72 // of a password; bcrypt ignores the rest
	maxArgonTime     = 16
	maxArgonMemory   = 256 << 10 // KiB
	maxArgonThreads  = 16
	minSalt, maxSalt = 8, 64
	minSum, maxSum   = 16, 64
)

// Parameters of the hashes that `auth-file hash` creates: OWASP's recommendation for argon2id with 19 MiB and two passes.
const (
	newArgonTime, newArgonMemory, newArgonThreads = 2, 19 << 10, 1
	newSalt, newSum                               = 16, 32
	newBcryptCost                                 = 10
)

// hash is a password hash as it is stored.
type hash interface {
	// matches does the same work whether or not the password is right.
	matches(password []byte) bool
}

// parseHash reads a hash in the form of crypt ($2b$...) or PHC ($argon2id$...).
func parseHash(text string) (hash, error) {
	switch {
	case strings.HasPrefix(text, "$2a$"), strings.HasPrefix(text, "$2b$"), strings.HasPrefix(text, "$2y$"):
		return parseBcrypt(text)
	case strings.HasPrefix(text, "$argon2id$"):
		return parseArgon(text)
	}
	return nil, errors.New("is neither a bcrypt ($2b$...) nor an argon2id ($argon2id$...) hash; make one with `auth-file hash`")
}

type bcryptHash []byte

func parseBcrypt(text string) (hash, error) {
	cost, err := bcrypt.Cost([]byte(text))
	if err != nil || len(text) != 60 {
		return nil, errors.New("is no complete bcrypt hash, which has 60 characters; make one with `auth-file hash`")
	}
	if cost > maxBcryptCost {
		return nil, fmt.Errorf("has the bcrypt cost %d, which takes too long; %d is the most", cost, maxBcryptCost)
	}
	return bcryptHash(text), nil
}

func (h bcryptHash) matches(password []byte) bool {
	short := password[:min(len(password), maxBcryptBytes)]
	return bcrypt.CompareHashAndPassword(h, short) == nil && len(short) == len(password)
}

type argonHash struct {
	time, memory uint32
	threads      uint8
	salt, sum    []byte
}

func parseArgon(text string) (hash, error) {
	malformed := errors.New(
		"is no argon2id hash of the form $argon2id$v=19$m=MEMORY,t=PASSES,p=THREADS$SALT$HASH; make one with `auth-file hash`",
	)
	parts := strings.Split(text, "$")
	if len(parts) != 6 || parts[2] != "v=19" {
		return nil, malformed
	}
	var memory, passes, threads uint32
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &passes, &threads); n != 3 || err != nil ||
		parts[3] != fmt.Sprintf("m=%d,t=%d,p=%d", memory, passes, threads) {
		return nil, malformed
	}
	salt, saltErr := base64.RawStdEncoding.Strict().DecodeString(parts[4])
	sum, sumErr := base64.RawStdEncoding.Strict().DecodeString(parts[5])
	if saltErr != nil || sumErr != nil {
		return nil, malformed
	}
	switch {
	case memory > maxArgonMemory || passes > maxArgonTime || threads > maxArgonThreads:
		return nil, fmt.Errorf("costs too much; the most is m=%d (KiB), t=%d, p=%d", maxArgonMemory, maxArgonTime, maxArgonThreads)
	case passes == 0 || threads == 0 || memory < 8*threads:
		return nil, errors.New("has parameters that argon2id does not have: t and p are 1 at least, m is 8*p at least")
	case len(salt) < minSalt || len(salt) > maxSalt || len(sum) < minSum || len(sum) > maxSum:
		return nil, fmt.Errorf("needs a salt of %d to %d bytes and a hash of %d to %d", minSalt, maxSalt, minSum, maxSum)
	}
	return &argonHash{time: passes, memory: memory, threads: uint8(threads), salt: salt, sum: sum}, nil
}

func (h *argonHash) matches(password []byte) bool {
	sum := argon2.IDKey(password, h.salt, h.time, h.memory, h.threads, uint32(len(h.sum)))
	return subtle.ConstantTimeCompare(sum, h.sum) == 1
}

// newArgon hashes a password with argon2id.
func newArgon(password []byte) string {
	salt := make([]byte, newSalt)
	_, _ = rand.Read(salt) // never fails
	sum := argon2.IDKey(password, salt, newArgonTime, newArgonMemory, newArgonThreads, newSum)
	encode := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", newArgonMemory, newArgonTime, newArgonThreads, encode(salt), encode(sum))
}

// newBcrypt hashes a password with bcrypt.
func newBcrypt(password []byte, cost int) (string, error) {
	switch {
	case cost < bcrypt.MinCost || cost > maxBcryptCost:
		return "", fmt.Errorf("the cost of bcrypt is from %d to %d, not %d", bcrypt.MinCost, maxBcryptCost, cost)
	case len(password) > maxBcryptBytes:
		return "", fmt.Errorf("bcrypt takes passwords of %d bytes at most; use argon2id", maxBcryptBytes)
	}
	text, err := bcrypt.GenerateFromPassword(password, cost)
	return string(text), err
}
