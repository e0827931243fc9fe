// Package largepage makes tables that are read here and there all over. With pages of 4 KiB nearly every such
// read first has the processor look for the page, in a virtual machine in two tables of several levels, and
// that takes longer than the read.
package largepage

// Make is make([]T, n), in large pages where the system has them and n is worth it. T holds no pointers.
func Make[T any](n int) []T {
	s := make([]T, n)
	advise(s)
	return s
}
