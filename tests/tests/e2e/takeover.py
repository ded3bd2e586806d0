"""Tries to take over PID 1 of its pid namespace, by every way that Linux has, and prints what came of each as JSON.

`control` runs the same against a child of its own, where most must work: it shows that the attacks are real.
"""

import ctypes
import errno
import json
import os
import signal
import struct
import sys

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
PTRACE_ATTACH, PTRACE_SEIZE = 16, 0x4206
SYS = {
    "x86_64": dict(readv=310, writev=311, pidfd_open=434, pidfd_getfd=438, kcmp=312, ptrace=101, madvise=440),
    "aarch64": dict(readv=270, writev=271, pidfd_open=434, pidfd_getfd=438, kcmp=272, ptrace=117, madvise=440),
}[os.uname().machine]


def call(name, *arguments):
    result = libc.syscall(SYS[name], *[ctypes.c_long(argument) for argument in arguments])
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def open_memory(pid, flags):
    os.close(os.open(f"/proc/{pid}/mem", flags))


def thread_memory(pid):
    os.close(os.open(f"/proc/{pid}/task/{pid}/mem", os.O_RDWR))


def each_descriptor(pid, attempt):
    """Succeeds if one does. That root may list the numbers is the kernel's choice: they tell nothing of what is open."""
    refusal = OSError(errno.EPERM, "no descriptor is seen")
    for number in os.listdir(f"/proc/{pid}/fd"):
        try:
            return attempt(f"/proc/{pid}/fd/{number}")
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EACCES):
                raise
            refusal = error
    raise refusal


def reopen(path):
    os.close(os.open(path, os.O_RDWR))


def steal_descriptors(pid):
    handle = call("pidfd_open", pid, 0)
    for number in range(64):
        try:
            os.close(call("pidfd_getfd", handle, number, 0))
            return
        except OSError as error:
            # EBADF comes after the check was passed: there is no such descriptor.
            if error.errno not in (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EBADF):
                raise
            if number == 0:
                refusal = error
    raise refusal


def vector(pid, name):
    class Vector(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]

    buffer = ctypes.create_string_buffer(8)
    local = Vector(ctypes.addressof(buffer), 8)
    remote = Vector(victim_address(pid), 8)
    call(name, pid, ctypes.addressof(local), 1, ctypes.addressof(remote), 1, 0)


def victim_address(pid):
    """Somewhere that is mapped in a child of ours; in a stranger only its maps would tell."""
    return ctypes.addressof(MARK) if pid != 1 else 0x400000


def attach(pid, how):
    call("ptrace", how, pid, 0, 0)


def read(pid, name):
    with open(f"/proc/{pid}/{name}", "rb") as file:
        if not file.read(1 << 16):
            raise OSError(errno.EPERM, "empty")


def link(pid, name):
    return os.readlink(f"/proc/{pid}/{name}")


def enter_root(pid):
    return os.listdir(f"/proc/{pid}/root/")


def join_namespaces(pid):
    handle = call("pidfd_open", pid, 0)
    if libc.setns(handle, 0x20000 | 0x10000000) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def advise(pid):
    handle = call("pidfd_open", pid, 0)
    address = struct.pack("QQ", 0x400000, 4096)
    buffer = ctypes.create_string_buffer(address)
    call("madvise", handle, ctypes.addressof(buffer), 1, 20, 0)


ATTACKS = {
    "mem_read": lambda pid: open_memory(pid, os.O_RDONLY),
    "mem_write": lambda pid: open_memory(pid, os.O_RDWR),
    "task_mem": thread_memory,
    "fd_links": lambda pid: each_descriptor(pid, os.readlink),
    "fd_reopen": lambda pid: each_descriptor(pid, reopen),
    "pidfd_getfd": steal_descriptors,
    "process_vm_readv": lambda pid: vector(pid, "readv"),
    "process_vm_writev": lambda pid: vector(pid, "writev"),
    "environ": lambda pid: read(pid, "environ"),
    "maps": lambda pid: read(pid, "maps"),
    "auxv": lambda pid: read(pid, "auxv"),
    "syscall": lambda pid: read(pid, "syscall"),
    "root": enter_root,
    "cwd": lambda pid: link(pid, "cwd"),
    "exe": lambda pid: link(pid, "exe"),
    "setns": join_namespaces,
    "process_madvise": advise,
    "ptrace_attach": lambda pid: attach(pid, PTRACE_ATTACH),
    "ptrace_seize": lambda pid: attach(pid, PTRACE_SEIZE),
}
MARK = ctypes.create_string_buffer(b"mapped here", 64)


def victim():
    pid = os.fork()
    if pid == 0:
        while True:
            signal.pause()
    return pid


def attempt(attack, pid):
    """Only the kernel's word that it may not be is a refusal: any other error came after the check was passed."""
    try:
        attack(pid)
        return "SUCCEEDED"
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES, errno.ENOSYS):
            return f"refused: {error.strerror}"
        return f"SUCCEEDED: {error.strerror}"


def main():
    if sys.argv[1] == "control":
        results = {}
        for name, attack in ATTACKS.items():
            pid = victim()
            results[name] = attempt(attack, pid)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    else:
        results = {name: attempt(attack, 1) for name, attack in ATTACKS.items()}
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV):
            try:
                os.kill(1, number)
            except OSError:
                pass
    print(json.dumps(results))


main()
