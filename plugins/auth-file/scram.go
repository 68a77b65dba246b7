package main

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strconv"

	"github.com/xdg-go/scram"
)

// methodSCRAM is the only method of enhanced authentication: SCRAM-SHA-256 (RFC 7677) without channel binding.
const methodSCRAM = "SCRAM-SHA-256"

// Bounds on the iterations of a stored key. The client does the work, and must not be made to spend minutes on it.
const (
	minIterations, maxIterations = 4096, 1_000_000 // RFC 7677 wants 4096 at least
	newIterations                = 4096
	scramSalt                    = 16
)

// scramForm is a stored key as PostgreSQL writes it: the iterations, the salt, and the two keys, in Base64.
var scramForm = regexp.MustCompile(`^SCRAM-SHA-256\$([1-9][0-9]{0,8}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)$`)

// parseSCRAM reads a stored key.
func parseSCRAM(text string) (*scram.StoredCredentials, error) {
	malformed := errors.New(
		"is no stored key of the form SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY; make one with `auth-file hash --scram`",
	)
	parts := scramForm.FindStringSubmatch(text)
	if parts == nil {
		return nil, malformed
	}
	iterations, err := strconv.Atoi(parts[1])
	if err != nil {
		return nil, malformed
	}
	var bytes [3][]byte
	for i := range bytes {
		if bytes[i], err = base64.StdEncoding.Strict().DecodeString(parts[2+i]); err != nil {
			return nil, malformed
		}
	}
	switch {
	case iterations < minIterations || iterations > maxIterations:
		return nil, fmt.Errorf("has %d iterations; it needs %d to %d", iterations, minIterations, maxIterations)
	case len(bytes[0]) < minSalt || len(bytes[0]) > maxSalt:
		return nil, fmt.Errorf("needs a salt of %d to %d bytes", minSalt, maxSalt)
	case len(bytes[1]) != sha256.Size || len(bytes[2]) != sha256.Size:
		return nil, malformed
	}
	return &scram.StoredCredentials{
		KeyFactors: scram.KeyFactors{Salt: string(bytes[0]), Iters: iterations},
		StoredKey:  bytes[1],
		ServerKey:  bytes[2],
	}, nil
}

// newSCRAM derives the stored key of a password.
func newSCRAM(password []byte, iterations int) (string, error) {
	if iterations < minIterations || iterations > maxIterations {
		return "", fmt.Errorf("the iterations are from %d to %d, not %d", minIterations, maxIterations, iterations)
	}
	// The user name does not influence the key.
	client, err := scram.SHA256.NewClient("user", string(password), "")
	if err != nil {
		return "", fmt.Errorf("the password cannot be used with SCRAM: %w", err)
	}
	salt := make([]byte, scramSalt)
	_, _ = rand.Read(salt) // never fails
	keys, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: string(salt), Iters: iterations})
	if err != nil {
		return "", err
	}
	encode := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("%s$%d:%s$%s:%s", methodSCRAM, iterations, encode(salt), encode(keys.StoredKey), encode(keys.ServerKey)), nil
}

// decoySCRAM returns credentials that nobody can prove, for a name without any. They have the iterations of some real user and a salt that
// is constant for the name, so that the server's first message does not reveal which names exist. On every node they stay the same as long
// as that user's key does.
func decoySCRAM(name string, like *scram.StoredCredentials) scram.StoredCredentials {
	out := scram.StoredCredentials{
		KeyFactors: scram.KeyFactors{Iters: newIterations},
		StoredKey:  make([]byte, sha256.Size),
		ServerKey:  make([]byte, sha256.Size),
	}
	_, _ = rand.Read(out.StoredKey)
	_, _ = rand.Read(out.ServerKey)
	size, secret := scramSalt, out.ServerKey
	if like != nil {
		out.Iters, size, secret = like.Iters, len(like.Salt), like.ServerKey
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("salt of " + name))
	salt := mac.Sum(nil)
	for len(salt) < size {
		mac.Write(salt)
		salt = mac.Sum(salt)
	}
	out.Salt = string(salt[:size])
	return out
}
