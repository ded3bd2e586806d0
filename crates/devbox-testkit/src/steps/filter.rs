//! The filter that stops a process at its steps only.

use libc::{sock_filter, sock_fprog};

use super::calls;

/// A program for seccomp(2).
#[derive(Debug)]
pub(crate) struct Filter {
    program: Vec<sock_filter>,
}

impl Filter {
    /// Stops at what may be a step; lets all else pass.
    pub(crate) fn new() -> Self {
        let statement = |code: u32, value: u32| instruction(code, value, 0, 0);
        let numbers: Vec<u32> = calls::all().filter_map(|call| u32::try_from(call.number).ok()).collect();
        // The number of the call is the first field of what a filter sees.
        let mut program = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0)];
        for (index, number) in numbers.iter().enumerate() {
            // A match jumps over the comparisons that are left, and over the `allow` behind them.
            let over = u8::try_from(numbers.len() - index).unwrap_or(u8::MAX);
            program.push(instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, *number, over, 0));
        }
        program.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW));
        program.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_TRACE));
        Self { program }
    }

    /// For the kernel; lives as long as `self`.
    pub(super) fn program(&self) -> sock_fprog {
        let len = libc::c_ushort::try_from(self.program.len()).unwrap_or(libc::c_ushort::MAX);
        sock_fprog { len, filter: self.program.as_ptr().cast_mut() }
    }
}

fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: u16::try_from(code).unwrap_or(0), jt, jf, k }
}
