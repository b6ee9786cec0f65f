// Package weakdisk is a file system over a directory whose flushes are slow or fail and
// whose writes fail, when it is told so: FUSE, served by this process.
package weakdisk
