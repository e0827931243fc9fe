package shop

import (
	"math/rand/v2"
	"strconv"
)

type country struct {
	code, locale, timezone, currency, language string
	cities                                     []string
	weight                                     int
}

var countries = [...]country{
	{"US", "en-US", "America/Chicago", "USD", "en", []string{"Chicago", "Miami", "New York", "Austin", "Portland"}, 30},
	{"DE", "de-DE", "Europe/Berlin", "EUR", "de", []string{"Berlin", "Köln", "München", "Görlitz", "Düsseldorf"}, 18},
	{"GB", "en-GB", "Europe/London", "GBP", "en", []string{"London", "Leeds", "Glasgow", "Llanfairpwll"}, 12},
	{"FR", "fr-FR", "Europe/Paris", "EUR", "fr", []string{"Paris", "Saint-Étienne", "Besançon", "Nîmes"}, 10},
	{"PL", "pl-PL", "Europe/Warsaw", "PLN", "pl", []string{"Łódź", "Kraków", "Gdańsk", "Wrocław"}, 8},
	{"BR", "pt-BR", "America/Sao_Paulo", "BRL", "pt", []string{"São Paulo", "Brasília", "Maceió"}, 7},
	{"JP", "ja-JP", "Asia/Tokyo", "USD", "ja", []string{"東京", "大阪", "札幌"}, 5},
	{"TR", "tr-TR", "Europe/Istanbul", "TRY", "tr", []string{"İstanbul", "Diyarbakır", "İzmir"}, 5},
	{"EG", "ar-EG", "Africa/Cairo", "USD", "ar", []string{"القاهرة", "الإسكندرية"}, 3},
	{"VN", "vi-VN", "Asia/Ho_Chi_Minh", "USD", "vi", []string{"Hà Nội", "Đà Nẵng"}, 2},
}

func pickCountry(rng *rand.Rand) uint8 {
	n := rng.IntN(100)
	for i, c := range countries {
		if n -= c.weight; n < 0 {
			return uint8(i)
		}
	}
	return 0
}

// name is a given or a family name, with the form it takes in an email address.
type name struct{ text, latin string }

var givenNames = [...]name{
	{"Ann", "ann"}, {"Bob", "bob"}, {"Zoë", "zoe"}, {"José", "jose"}, {"Łukasz", "lukasz"}, {"Søren", "soren"},
	{"Anaïs", "anais"}, {"Jürgen", "juergen"}, {"İpek", "ipek"}, {"Айгуль", "aigul"}, {"Юрий", "yuri"}, {"明", "akira"},
	{"さくら", "sakura"}, {"محمد", "mohamed"}, {"ليلى", "layla"}, {"Ngọc", "ngoc"}, {"Mary Jane", "mary.jane"}, {"D'Arcy", "darcy"},
	{"João", "joao"}, {"Siân", "sian"}, {"Chloe", "chloe"}, {"Wei", "wei"}, {"Priya", "priya"}, {"Kofi", "kofi"},
	{"Élodie", "elodie"}, {"Björk", "bjork"}, {"👩‍🎤 Ziggy", "ziggy"}, {"Null", "null"}, {"Nils", "nils"}, {"Tom", "tom"},
}

var familyNames = [...]name{
	{"Müller", "mueller"}, {"O'Brien", "obrien"}, {"Nguyễn", "nguyen"}, {"Wójcik", "wojcik"}, {"García", "garcia"}, {"Smith", "smith"},
	{"Jensen", "jensen"}, {"山田", "yamada"}, {"佐藤", "sato"}, {"Қасымова", "kasymova"}, {"Çelik", "celik"}, {"da Silva", "da-silva"},
	{"Dubois", "dubois"}, {"Jones", "jones"}, {"الحسن", "alhassan"}, {"Ångström", "angstrom"}, {"Lefèvre", "lefevre"}, {"van der Berg", "vanderberg"},
	{"Kowalczyk", "kowalczyk"}, {"Brown", "brown"}, {"Okafor", "okafor"}, {"Ferreira", "ferreira"}, {"Lee", "lee"}, {"Schäfer-Weiß", "schaefer-weiss"},
}

var mailHosts = [...]string{"example.com", "example.org", "example.net", "mail.example", "post.example"}

var tiers = [...]string{"none", "bronze", "silver", "gold"}

var interests = [...]string{"running", "cycling", "cooking", "camping", "climbing", "coffee", "gardening", "music"}

// number is the customer number's last nine digits.
func (h *household) number(p int) uint64 { return uint64(h.serial)*2 + uint64(p) }

// appendCRM writes a customer number: digits, unique among people of all streams whose seeds
// differ modulo seedTags.
func (s *Stream) appendCRM(dst []byte, p int) []byte {
	return strconv.AppendUint(dst, (1000+s.tag)*1e9+s.visitor.number(p), 10)
}

// appendEmail writes a person's address; unique as the customer number is. Capitals and lower case
// come and go, as with people who type.
func (s *Stream) appendEmail(dst []byte, p int, loud bool) []byte {
	h := s.visitor
	start := len(dst)
	dst = append(dst, h.given(p).latin...)
	dst = append(dst, '.')
	dst = append(dst, h.family().latin...)
	dst = append(dst, '.')
	dst = strconv.AppendUint(dst, s.tag, 10)
	dst = append(dst, '-')
	dst = strconv.AppendUint(dst, h.number(p), 36)
	if h.people[p].remailed {
		dst = append(dst, "+new"...)
	}
	dst = append(dst, '@')
	dst = append(dst, mailHosts[h.bits(10+p, uint64(len(mailHosts)))]...)
	if c := &dst[start]; loud && 'a' <= *c && *c <= 'z' {
		*c -= 'a' - 'A'
	}
	return dst
}

// appendPhone writes a German mobile number in the international form, longer than real ones so
// that it calls nobody.
func (s *Stream) appendPhone(dst []byte, p int) []byte {
	dst = append(dst, "+49 15"...)
	dst = appendDigits(dst, s.tag, 3)
	if s.visitor.bits(12, 2) == 0 {
		dst = append(dst, ' ')
	}
	return appendDigits(dst, s.visitor.number(p), 8)
}

// appendHandle writes what a person logs in with.
func (s *Stream) appendHandle(dst []byte, p int) []byte {
	if s.visitor.phoneFirst(p) {
		return s.appendPhone(dst, p)
	}
	return s.appendEmail(dst, p, s.rng.IntN(8) == 0)
}

func (h *household) given(p int) name {
	return givenNames[(h.bits(14, uint64(len(givenNames)))+uint64(p)*7)%uint64(len(givenNames))]
}

func (h *household) family() name { return familyNames[h.bits(15, uint64(len(familyNames)))] }
