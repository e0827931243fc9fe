package processor_test

import "fmt"

func (r *bench) dump(n int) {
	rows, err := r.pool.Query(r.Context(), "SELECT relname, n_tup_ins, n_tup_upd, n_tup_hot_upd, n_tup_del FROM pg_stat_user_tables WHERE n_tup_ins + n_tup_upd > 0 ORDER BY 1")
	r.must(err)
	for rows.Next() {
		var name string
		var i, u, h, d int64
		r.must(rows.Scan(&name, &i, &u, &h, &d))
		fmt.Printf("ROWS %s %-20s ins %.3f upd %.3f hot %.3f del %.3f\n", r.mix.Name, name, float64(i)/float64(n), float64(u)/float64(n), float64(h)/float64(n), float64(d)/float64(n))
	}
}
