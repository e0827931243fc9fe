package analytics

import (
	_ "embed"
	"fmt"
	"regexp"
	"strings"

	"github.com/keystone-cdp/keystone/analytics/query"
)

//go:embed COOKBOOK.md
var cookbook string

// recipe is a heading, its SQL, and the table below it.
var recipe = regexp.MustCompile("(?s)\n## ([^\n]+)\n\n```sql\n(.*?)\n```\n\n((?:\\|[^\n]*\n)*)")

// Cookbook is every question of COOKBOOK.md, in its order.
func Cookbook() []query.Question {
	var all []query.Question
	for _, m := range recipe.FindAllStringSubmatch(cookbook, -1) {
		all = append(all, query.Question{Title: m[1], SQL: m[2]})
	}
	return all
}

// Recipe is the question of that title.
func Recipe(title string) (query.Question, error) {
	for _, q := range Cookbook() {
		if strings.EqualFold(q.Title, title) {
			return q, nil
		}
	}
	return query.Question{}, fmt.Errorf("find %q: it is not in the cookbook", title)
}
