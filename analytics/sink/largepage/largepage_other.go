//go:build !linux

package largepage

func advise[T any]([]T) {}
