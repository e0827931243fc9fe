package embedded

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// WriteFile writes the file whole or not at all, readable by its owner only:
// a crash leaves the old content or the new one.
func WriteFile(path string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Sync()
	}
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
	}
	return err
}

// Absolute makes the paths absolute, leaving "" alone: the engines run in
// folders of their own.
func Absolute(paths ...*string) error {
	for _, path := range paths {
		if *path == "" {
			continue
		}
		abs, err := filepath.Abs(*path)
		if err != nil {
			return fmt.Errorf("make path absolute: %w", err)
		}
		*path = abs
	}
	return nil
}

const (
	secretBytes  = 24 // of randomness
	minSecretLen = 16 // of a secret read back; a shorter file is damaged
)

// Secret reads the password kept in the file, or makes a random one of 48 hex
// digits and keeps it there with mode 0600.
func Secret(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err == nil {
		secret := strings.TrimSpace(string(data))
		if len(secret) < minSecretLen {
			return "", fmt.Errorf("password file %s is damaged", path)
		}
		return secret, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("read password: %w", err)
	}
	secret := RandomHex(secretBytes)
	if err := WriteFile(path, []byte(secret+"\n")); err != nil {
		return "", fmt.Errorf("keep password: %w", err)
	}
	return secret, nil
}

// RandomHex is n random bytes as 2n hex digits.
func RandomHex(n int) string {
	buf := make([]byte, n)
	_, _ = rand.Read(buf) // never fails
	return hex.EncodeToString(buf)
}
