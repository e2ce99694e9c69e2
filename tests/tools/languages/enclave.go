// SPDX-License-Identifier: GPL-2.0-or-later
// enclave DIR IMAGE OTHER: an enclave from a Go program; OTHER is one that lacks everything.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func set(file, value string) {
	check(os.WriteFile(file, []byte(value), 0o644))
}

func get(file string) string {
	data, err := os.ReadFile(file)
	check(err)
	return string(data)
}

// io.Copy between files is copy_file_range, or splice, or what else the kernel has.
func copyFile(from, to string) {
	source, err := os.Open(from)
	check(err)
	defer source.Close()
	target, err := os.Create(to)
	check(err)
	_, err = io.Copy(target, source)
	check(err)
	check(target.Close())
}

func errno(err error) string {
	var number syscall.Errno
	switch {
	case err == nil:
		return "OK"
	case errors.As(err, &number) && number == syscall.EINVAL:
		return "EINVAL"
	}
	return err.Error()
}

func main() {
	dir, image, other := os.Args[1], os.Args[2], os.Args[3]
	told := map[string]any{}

	set(dir+"/memory", "64M\n")
	set(dir+"/vcpus", "2\n")
	set(dir+"/cid", "17\n")
	set(dir+"/debug", "1\n")
	set(dir+"/boot_timeout", "30\n")
	copyFile(image, dir+"/image")
	copyFile(dir+"/image", image+".back")
	set(dir+"/start", "1\n")
	told["wait"] = strings.TrimSpace(get(dir + "/wait"))
	told["state"] = get(dir + "/state")
	told["events"] = get(dir + "/events")
	told["measurements"] = get(dir + "/measurements")

	journal, err := os.Open(dir + "/journal")
	check(err)
	names := []string{}
	for lines := bufio.NewScanner(journal); lines.Scan(); {
		var record struct{ Event string }
		check(json.Unmarshal(lines.Bytes(), &record))
		names = append(names, record.Event)
	}
	told["journal"] = names
	told["refused"] = errno(os.WriteFile(dir+"/memory", []byte("64MB\n"), 0o644))
	told["unset"] = errno(os.WriteFile(other+"/start", []byte("1\n"), 0o644))
	check(json.NewEncoder(os.Stdout).Encode(told))
}
