// Linux system calls and constants that the Glibc module does not import.
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

// POSIX_SPAWN_SETSID of spawn.h, a glibc extension that the Glibc module leaves out.
static inline short p2pfs_spawn_setsid(void) { return 0x80; }
