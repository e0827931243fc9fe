package shop

import (
	"fmt"
	"strings"
)

// product is one article. All text is ready to stand within a JSON string.
type product struct {
	id       string // as the truth counts it
	idJSON   string // the members that name it, some as a number, some by sku alone
	numbered bool   // has a product_id
	name     string
	slug     string
	category string
	brand    string
	price    int64 // hundredths
}

var categories = [...]string{"shoes", "jackets", "tents", "coffee", "bicycles", "kitchen", "books", "music"}

var brands = [...]string{"Nordlicht", "Acme", "Øresund & Søn", "Brücke", "山ノ音", "Tramp"}

var nouns = [...][]string{
	{"Trail Shoe", "Sandal", "Boot 27\\\" wide"}, {"Rain Jacket", "Fleece", "Down Vest"}, {"Tent 2P", "Tarp", "Sleeping Mat"},
	{"Espresso", "Café crème", "Filter Set"}, {"Gravel Bike", "Fahrradträger", "Bike Lamp"}, {"Cast Iron Pan", "Whetstone", "Teekanne 茶"},
	{"Atlas", "Field Notes \\\\ lined", "Cookbook"}, {"Vinyl \\\"Blue\\\"", "Melodica", "Kalimba"},
}

var adjectives = [...]string{"Light", "Warm", "Grüner", "Classic", "Petit", "Noir", "Rugged", "Sunny", "Quiet", "Élan"}

// latin spells what product names hold beyond ASCII.
var latin = strings.NewReplacer("ü", "ue", "ä", "ae", "É", "e", "é", "e", "è", "e")

// catalogueSize is how many products the shop has.
const catalogueSize = 2000

// catalogue is the same for every seed: it is one shop.
var catalogue = func() []product {
	all := make([]product, catalogueSize)
	for i := range all {
		c := i % len(categories)
		seed := mix(uint64(i) + 1)
		noun := nouns[c][seed%uint64(len(nouns[c]))]
		p := product{
			numbered: true,
			name:     fmt.Sprintf("%s %s %d", adjectives[seed>>8%uint64(len(adjectives))], noun, i),
			category: categories[c],
			brand:    brands[seed>>16%uint64(len(brands))],
			price:    int64(199 + seed>>24%30_000),
		}
		switch i % 50 {
		case 7: // a shop system that numbers its products
			p.id = fmt.Sprint(100_000 + i)
			p.idJSON = `"product_id":` + p.id + `,"sku":"SKU-` + fmt.Sprint(i) + `"`
		case 8: // and one that has no product ids
			p.id, p.numbered = fmt.Sprintf("SKU-%d", i), false
			p.idJSON = `"sku":"` + p.id + `"`
		default:
			p.id = fmt.Sprintf("P-%05d", i)
			p.idJSON = `"product_id":"` + p.id + `","sku":"SKU-` + fmt.Sprint(i) + `"`
		}
		if i%3 == 0 {
			p.price = p.price/100*100 + 99
		} else if i%7 == 0 {
			p.price = p.price / 100 * 100
		}
		p.slug = strings.ToLower(strings.Join(strings.FieldsFunc(latin.Replace(p.name), func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
		}), "-"))
		all[i] = p
	}
	return all
}()

// pick chooses a product: few are looked at often, most seldom.
func (s *Stream) pick() uint16 {
	f := s.rng.Float64()
	return uint16(f * f * f * catalogueSize)
}
