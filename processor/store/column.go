package store

import (
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"
)

// column is a parameter for unnest. pgx asks each element for its value through a pointer, so that
// encoding an array allocates nothing per row; a plain slice costs an allocation or two for each.
type column[T any, E interface {
	*T
	element
}] []T

// element marks the types that column takes: one of pgtype's Valuer interfaces, on the pointer.
type element interface{ element() }

func (c column[T, E]) Dimensions() []pgtype.ArrayDimension {
	if len(c) == 0 {
		return []pgtype.ArrayDimension{}
	}
	return []pgtype.ArrayDimension{{Length: int32(len(c)), LowerBound: 1}}
}

func (c column[T, E]) Index(i int) any { return E(&c[i]) }
func (c column[T, E]) IndexType() any  { return E(new(T)) }

type (
	uuids   = column[uuidElement, *uuidElement]
	uuidsOr = column[uuidOrNull, *uuidOrNull] // uuid.Nil is NULL
	texts   = column[textElement, *textElement]
	ints    = column[intElement, *intElement]
	bools   = column[boolElement, *boolElement]
	times   = column[timeElement, *timeElement]
)

type uuidElement uuid.UUID

func (*uuidElement) element() {}
func (e *uuidElement) UUIDValue() (pgtype.UUID, error) {
	return pgtype.UUID{Bytes: *e, Valid: true}, nil
}

type uuidOrNull uuid.UUID

func (*uuidOrNull) element() {}
func (e *uuidOrNull) UUIDValue() (pgtype.UUID, error) {
	return pgtype.UUID{Bytes: *e, Valid: uuid.UUID(*e) != uuid.Nil}, nil
}

type textElement string

func (*textElement) element() {}
func (e *textElement) TextValue() (pgtype.Text, error) {
	return pgtype.Text{String: string(*e), Valid: true}, nil
}

type intElement int64

func (*intElement) element() {}
func (e *intElement) Int64Value() (pgtype.Int8, error) {
	return pgtype.Int8{Int64: int64(*e), Valid: true}, nil
}

type boolElement bool

func (*boolElement) element() {}
func (e *boolElement) BoolValue() (pgtype.Bool, error) {
	return pgtype.Bool{Bool: bool(*e), Valid: true}, nil
}

type timeElement time.Time

func (*timeElement) element() {}
func (e *timeElement) TimestamptzValue() (pgtype.Timestamptz, error) {
	return pgtype.Timestamptz{Time: time.Time(*e), Valid: true}, nil
}
