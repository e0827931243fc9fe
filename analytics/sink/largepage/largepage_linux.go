package largepage

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// size is that of a large page on most machines. Where they are larger the kernel takes what fits.
const size = 2 << 20

// advise asks for large pages in place of those that were not touched yet. The memory stays the garbage
// collector's: the kernel's advice is about where it is, not what is in it, and whoever has it next has large
// pages, too. A kernel that refuses leaves it as it is.
func advise[T any](s []T) {
	// unsafe because Go has no word for where memory is; nothing is read or written through it.
	start := uintptr(unsafe.Pointer(unsafe.SliceData(s)))
	memory := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), len(s)*int(unsafe.Sizeof(*new(T))))
	before := int(-start & (size - 1))
	if len(memory) < before+size {
		return
	}
	memory = memory[before:]
	_ = unix.Madvise(memory[:len(memory)&^(size-1)], unix.MADV_HUGEPAGE)
}
