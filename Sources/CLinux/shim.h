// Linux system calls and constants that the Glibc module does not import.
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

// A glibc extension that the Glibc module leaves out; a name has at most 15 bytes.
extern int pthread_setname_np(pthread_t thread, const char *name);

// A glibc extension of errno.h.
extern char *program_invocation_name;
/// argv[0] where the kernel has put it, with the other arguments behind it: what /proc/PID/cmdline shows.
static inline char *p2pfs_first_argument(void) { return program_invocation_name; }

/// Keeps this process' memory from core dumps, and from other processes of the same user (PR_SET_DUMPABLE of prctl(2)).
static inline void p2pfs_forbid_dumps(void) { (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); }

// POSIX_SPAWN_SETSID of spawn.h, a glibc extension that the Glibc module leaves out.
static inline short p2pfs_spawn_setsid(void) { return 0x80; }

// Resolution and attributes of files, for Export. Every function returns -1 and sets errno on failure.
#include <linux/capability.h>
#include <linux/landlock.h>
#include <linux/openat2.h>
#include <linux/stat.h>
#include <linux/sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/statfs.h>
#include <sys/uio.h>

/// openat2(2), which glibc 2.36 does not wrap.
static inline int p2pfs_openat2(int directory, const char *path, uint64_t flags, uint64_t resolve) {
  struct open_how how;
  memset(&how, 0, sizeof how);
  how.flags = flags;
  how.resolve = resolve;
  return (int)syscall(SYS_openat2, directory, path, &how, sizeof how);
}

/// openat(2), variadic in C.
static inline int p2pfs_openat(int directory, const char *path, int flags, unsigned mode) {
  return openat(directory, path, flags, mode);
}

/// What statx(2) says, as far as it travels.
struct p2pfs_status {
  uint32_t mode, links, is_mount_root, knows_mount_root;
  uint32_t owner, group, is_immutable;
  uint64_t device, inode, size, blocks;
  uint64_t birth;           // in nanoseconds; 0 if the filesystem does not say
  int64_t seconds[3];       // accessed, modified, changed
  uint32_t nanoseconds[3];
};

/// statx(2). With a mask of 0 and AT_STATX_DONT_SYNC it asks no filesystem anything, FUSE included, and only
/// the device is to be believed.
static inline int p2pfs_statx(int directory, const char *path, int flags, unsigned mask, struct p2pfs_status *out) {
  struct statx s;
  memset(&s, 0, sizeof s);
  if (syscall(SYS_statx, directory, path, flags, mask, &s) != 0) return -1;
  out->mode = s.stx_mode;
  out->links = s.stx_nlink;
  out->owner = s.stx_uid;
  out->group = s.stx_gid;
  out->is_immutable = (s.stx_attributes & STATX_ATTR_IMMUTABLE) != 0;
  out->is_mount_root = (s.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
  out->knows_mount_root = (s.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) != 0;
  // The encoding of makedev(3), so that it compares with st_dev.
  uint64_t major = s.stx_dev_major, minor = s.stx_dev_minor;
  out->device = (major & 0xfffff000u) << 32 | (major & 0xfff) << 8 | (minor & 0xffffff00u) << 12 | (minor & 0xff);
  out->inode = s.stx_ino;
  out->size = s.stx_size;
  out->blocks = s.stx_blocks;
  out->birth = s.stx_mask & STATX_BTIME ? (uint64_t)s.stx_btime.tv_sec * 1000000000u + s.stx_btime.tv_nsec : 0;
  out->seconds[0] = s.stx_atime.tv_sec;
  out->seconds[1] = s.stx_mtime.tv_sec;
  out->seconds[2] = s.stx_ctime.tv_sec;
  out->nanoseconds[0] = s.stx_atime.tv_nsec;
  out->nanoseconds[1] = s.stx_mtime.tv_nsec;
  out->nanoseconds[2] = s.stx_ctime.tv_nsec;
  return 0;
}

/// Whether a system call of that number (proc_pid_syscall(5)) writes a buffer of the length in its third argument.
static inline int p2pfs_writes(long number) { return number == SYS_write || number == SYS_pwrite64; }
/// Whether it writes the buffers that a vector names, in its second and third argument.
static inline int p2pfs_writes_vectors(long number) {
  return number == SYS_writev || number == SYS_pwritev || number == SYS_pwritev2;
}
/// The bytes of the buffers that a vector in the memory of another thread names; -1 if it cannot be read, or is none that
/// the kernel takes (IOV_MAX).
static inline int64_t p2pfs_vector_bytes(int thread, uint64_t address, unsigned long count) {
  struct iovec vector[1024];
  if (count > sizeof vector / sizeof *vector) return -1;
  struct iovec here = {vector, count * sizeof *vector}, there = {(void *)(uintptr_t)address, count * sizeof *vector};
  if (syscall(SYS_process_vm_readv, thread, &here, 1UL, &there, 1UL, 0UL) != (long)here.iov_len) return -1;
  uint64_t total = 0;
  for (unsigned long i = 0; i < count; i++) {
    if (vector[i].iov_len > INT64_MAX - total) return -1;
    total += vector[i].iov_len;
  }
  return (int64_t)total;
}
/// Whether a system call of that number (proc_pid_syscall(5)) makes a name, and gives up when the lookup of it fails:
/// filename_create() of fs/namei.c is not tried again after ESTALE.
static inline int p2pfs_makes_name(long number) {
  switch (number) {
#ifdef SYS_mkdir
  case SYS_mkdir: case SYS_mknod: case SYS_symlink: case SYS_link:
#endif
  case SYS_bind: case SYS_mkdirat: case SYS_mknodat: case SYS_symlinkat: case SYS_linkat: return 1;
  default: return 0;
  }
}
/// Whether a system call of that number (proc_pid_syscall(5)) opens a file.
static inline int p2pfs_opens(long number) {
#ifdef SYS_open
  if (number == SYS_open || number == SYS_creat) return 1;
#endif
  return number == SYS_openat || number == SYS_openat2;
}
/// Whether a system call of that number changes attributes of a file that it names by a path.
static inline int p2pfs_changes_by_path(long number) {
  switch (number) {
#ifdef SYS_chmod
  case SYS_chmod: case SYS_chown: case SYS_lchown: case SYS_utime: case SYS_utimes: case SYS_futimesat:
#endif
  case SYS_truncate: case SYS_fchmodat:
    return 1;
  default:
    return 0;
  }
}
/// The numbers of the calls that do so only if they are given a path.
static inline int p2pfs_may_change_by_path(long number) { return number == SYS_fchownat || number == SYS_utimensat; }
/// Whether a system call of that number uses a file by a descriptor. Negative: only with AT_EMPTY_PATH in the argument of that
/// number, from 1 on.
static inline int p2pfs_uses_descriptor(long number) {
  switch (number) {
  case SYS_fstat: case SYS_lseek: case SYS_read: case SYS_pread64: case SYS_readv: case SYS_preadv: case SYS_preadv2:
  case SYS_write: case SYS_pwrite64: case SYS_writev: case SYS_pwritev: case SYS_pwritev2: case SYS_mmap:
  case SYS_sendfile: case SYS_copy_file_range: case SYS_getdents64: case SYS_flock: case SYS_fcntl:
    return 1;
  case SYS_newfstatat:
    return -4;
  case SYS_statx:
    return -3;
  default:
    return 0;
  }
}

/// CLOCK_BOOTTIME now, in nanoseconds.
static inline uint64_t p2pfs_boot_nanoseconds(void) {
  struct timespec time;
  clock_gettime(CLOCK_BOOTTIME, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/// getdents64(2).
static inline long p2pfs_getdents64(int directory, void *buffer, size_t count) {
  return syscall(SYS_getdents64, directory, buffer, count);
}

/// The type of the filesystem that holds an open file, as statfs(2) has it; -1 if it does not say.
static inline int64_t p2pfs_filesystem_type(int file) {
  struct statfs s;
  return fstatfs(file, &s) == 0 ? (int64_t)s.f_type : -1;
}

/// renameat2(2).
static inline int p2pfs_renameat2(int from, const char *old_name, int to, const char *new_name, unsigned flags) {
  return (int)syscall(SYS_renameat2, from, old_name, to, new_name, flags);
}

/// fallocate(2), which needs _GNU_SOURCE.
static inline int p2pfs_fallocate(int file, int mode, int64_t offset, int64_t count) {
  return (int)syscall(SYS_fallocate, file, mode, offset, count);
}

/// Writes to the end of the file, wherever that is, and leaves the file position behind what was written: pwritev2(2)
/// with RWF_APPEND at offset -1.
static inline long p2pfs_append(int file, const struct iovec *parts, int count) {
  return syscall(SYS_pwritev2, file, parts, (long)count, -1L, -1L, 0x10);
}

/// Takes the error of writing back that this open file was not told of yet, as fsync(2) would, but writes nothing:
/// sync_file_range(2) waits for the pages of a range that has none.
static inline int p2pfs_take_writeback_error(int file) {
  return (int)syscall(SYS_sync_file_range, file, (int64_t)1 << 61, (int64_t)1, 1 /* WAIT_BEFORE */);
}

/// Whether the effective user may access an open file, O_PATH included: faccessat2(2), which glibc 2.36 hides.
static inline int p2pfs_may(int directory, const char *path, int mode) {
  return (int)syscall(SYS_faccessat2, directory, path, mode, 0x200 | 0x1000 | 0x100 /* AT_EACCESS, _EMPTY_PATH, _SYMLINK_NOFOLLOW */);
}

/// Whether the directory has a default ACL, which takes the place of the umask (acl(5)).
static inline int p2pfs_has_default_acl(const char *directory) {
  return syscall(SYS_getxattr, directory, "system.posix_acl_default", NULL, 0L) > 0;
}

/// O_NOATIME of open(2), which needs _GNU_SOURCE.
static inline int p2pfs_no_access_time(void) { return 01000000; }

/// syncfs(2), which needs _GNU_SOURCE.
static inline int p2pfs_syncfs(int file) { return (int)syscall(SYS_syncfs, file); }

/// Gives the calling thread a umask of its own, of 0. The rest of the process keeps its mask.
static inline int p2pfs_own_umask(void) {
  if (syscall(SYS_unshare, CLONE_FS) != 0) return -1;
  syscall(SYS_umask, 0);
  return 0;
}

/// Takes from the calling thread every capability whose bit is not in `keep`; those of `dormant` it may raise again.
static inline int p2pfs_keep_capabilities(uint64_t keep, uint64_t dormant) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2];
  if (syscall(SYS_capget, &header, data) != 0) return -1;
  for (int i = 0; i < 2; i++) {
    data[i].effective &= (uint32_t)(keep >> (32 * i));
    data[i].permitted &= (uint32_t)((keep | dormant) >> (32 * i));
    data[i].inheritable = 0;
  }
  return (int)syscall(SYS_capset, &header, data);
}

/// Raises those of the calling thread's permitted capabilities that are in `bits`, or lowers them.
/// Returns those that were raised and are lowered now, or the reverse.
static inline uint64_t p2pfs_turn_capabilities(uint64_t bits, int raised) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2];
  if (syscall(SYS_capget, &header, data) != 0) return 0;
  uint64_t turned = 0;
  for (int i = 0; i < 2; i++) {
    const uint32_t own = (uint32_t)(bits >> (32 * i)) & data[i].permitted;
    const uint32_t now = raised ? data[i].effective | own : data[i].effective & ~own;
    turned |= (uint64_t)(now ^ data[i].effective) << (32 * i);
    data[i].effective = now;
  }
  return turned != 0 && syscall(SYS_capset, &header, data) == 0 ? turned : 0;
}

/// Gives the calling thread alone, unlike setresuid(3), another user and other groups; for tests.
static inline int p2pfs_become(unsigned user, unsigned *groups, int count) {
  if (syscall(SYS_setgroups, (long)count, groups) != 0) return -1;
  if (user != 0 && syscall(SYS_setresgid, 65534, 65534, 65534) != 0) return -1;
  return (int)syscall(SYS_setresuid, user, user, user);
}

/// The effective capabilities of the calling thread; 0 if they cannot be had.
static inline uint64_t p2pfs_capabilities(void) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2];
  if (syscall(SYS_capget, &header, data) != 0) return 0;
  return data[0].effective | (uint64_t)data[1].effective << 32;
}

/// The version of Landlock's interface that the kernel has; below 1 if it has none.
static inline int p2pfs_landlock_version(void) {
  return (int)syscall(SYS_landlock_create_ruleset, 0, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

/// Forbids the calling thread, for good, every access of `handled` except those of `allowed` beneath `root`.
static inline int p2pfs_landlock_restrict(int root, uint64_t handled, uint64_t allowed) {
  struct landlock_ruleset_attr attributes;
  memset(&attributes, 0, sizeof attributes);
  attributes.handled_access_fs = handled;
  // The first field alone, as every version of the interface takes it.
  int rules = (int)syscall(SYS_landlock_create_ruleset, &attributes, sizeof(uint64_t), 0);
  if (rules < 0) return -1;
  struct landlock_path_beneath_attr beneath;
  memset(&beneath, 0, sizeof beneath);
  beneath.allowed_access = allowed;
  beneath.parent_fd = root;
  int result = -1;
  if (syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0) == 0 &&
      prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && syscall(SYS_landlock_restrict_self, rules, 0) == 0)
    result = 0;
  close(rules);
  return result;
}

/// Makes the buffer of a pipe at least so large, as far as this user may; does nothing to what is no pipe.
static inline void p2pfs_widen_pipe(int descriptor, int bytes) {
  // F_SETPIPE_SZ and F_GETPIPE_SZ of fcntl(2), which fcntl.h shows with _GNU_SOURCE only.
  const int set = 1031, get = 1032;
  const int now = fcntl(descriptor, get);
  if (now >= 0 && now < bytes) (void)fcntl(descriptor, set, bytes);
}

// Changes of the network, rtnetlink(7).
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

/// A non-blocking rtnetlink socket, which is told of changes of links, addresses and routes if it `listens`; -1 if there
/// is none.
static inline int p2pfs_network_socket(int listens) {
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
  struct sockaddr_nl address;
  memset(&address, 0, sizeof address);
  address.nl_family = AF_NETLINK;
  if (listens)
    address.nl_groups =
        RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE;
  if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) != 0) {
    close(fd);
    return -1;
  }
  return fd;
}

/// Receives one message of a netlink socket from the kernel, without waiting; -1 and errno if there is none, 0 if it came
/// from somebody else.
static inline long p2pfs_network_event(int fd, void *buffer, size_t size) {
  struct sockaddr_nl from;
  socklen_t length = sizeof from;
  long count = recvfrom(fd, buffer, size, MSG_DONTWAIT, (struct sockaddr *)&from, &length);
  return count > 0 && from.nl_pid != 0 ? 0 : count;
}

/// Asks the kernel for the route to an address of 4 or 16 bytes. The answer comes to the same socket.
static inline int p2pfs_ask_route(int fd, const void *address, unsigned length) {
  struct { struct nlmsghdr header; struct rtmsg route; struct rtattr attribute; unsigned char address[16]; } request;
  memset(&request, 0, sizeof request);
  request.header.nlmsg_len = sizeof request - 16 + length;
  request.header.nlmsg_type = RTM_GETROUTE;
  request.header.nlmsg_flags = NLM_F_REQUEST;
  request.route.rtm_family = length == 4 ? AF_INET : AF_INET6;
  request.route.rtm_dst_len = (unsigned char)(length * 8);
  request.attribute.rta_type = RTA_DST;
  request.attribute.rta_len = (unsigned short)RTA_LENGTH(length);
  memcpy(request.address, address, length);
  return send(fd, &request, request.header.nlmsg_len, 0) < 0 ? -1 : 0;
}
