/* A stand-in for the agent: PID 1 of a box that answers "GET /v1/agent", and runs what "POST /run" sends as a shell
 * command, as root of the box with the capabilities of a payload and in its cgroups. One connection, one answer. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void answer(int to, const char *status, const char *body, size_t length) {
    dprintf(to, "HTTP/1.1 %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n", status, length);
    while (length > 0) {
        ssize_t written = write(to, body, length);
        if (written <= 0) return;
        body += written;
        length -= (size_t)written;
    }
}

static void run(int to, char *command) {
    static char output[1 << 20];
    size_t length = 0;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return;
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_CAPBSET_DROP, 35);
        dup2(ends[1], 1);
        dup2(ends[1], 2);
        /* The cgroups are what the spawner left open; what this program opened is close-on-exec. */
        for (int procs = 4; procs < 16; procs++) {
            if (fcntl(procs, F_GETFD) == 0) {
                if (write(procs, "0", 1) != 1) dprintf(1, "cannot enter cgroup %d\n", procs);
                close(procs);
            }
        }
        close(3);
        setsid();
        char *environment[] = {"PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", NULL};
        char *arguments[] = {"sh", "-c", command, NULL};
        execve("/bin/sh", arguments, environment);
        dprintf(1, "no /bin/sh\n");
        _exit(127);
    }
    close(ends[1]);
    for (ssize_t got; (got = read(ends[0], output + length, sizeof output - length)) > 0;) length += (size_t)got;
    close(ends[0]);
    int status = 0;
    while (waitpid(child, &status, 0) < 0) {}
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    char line[32];
    snprintf(line, sizeof line, "200 %d", code);
    answer(to, line, output, length);
}

/* Reads a file as the agent itself, where a box has no shell. */
static void read_file(int to, const char *path) {
    static char content[1 << 16];
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = file < 0 ? -1 : read(file, content, sizeof content);
    if (length < 0) answer(to, "200 1", "", 0);
    else answer(to, "200 0", content, (size_t)length);
    if (file >= 0) close(file);
}

/* Tells what this program has open: nobody else in the box may look. */
static void tell_open(int to) {
    static char list[1 << 14];
    size_t length = 0;
    for (int number = 0; number < 1024; number++) {
        char path[32], link[256];
        snprintf(path, sizeof path, "/proc/self/fd/%d", number);
        ssize_t got = readlink(path, link, sizeof link - 1);
        if (got < 0) continue;
        link[got] = 0;
        length += (size_t)snprintf(list + length, sizeof list - length, "%d %s\n", number, link);
    }
    answer(to, "200 0", list, length);
}

int main(void) {
    static char request[1 << 16];
    signal(SIGPIPE, SIG_IGN);
    if (!getenv("DEVBOX_AGENT_CONFIG")) return 2;
    for (;;) {
        int to = accept4(3, NULL, NULL, SOCK_CLOEXEC);
        if (to < 0) return 3;
        size_t length = 0;
        char *body = NULL;
        ssize_t got;
        while (!body && (got = read(to, request + length, sizeof request - 1 - length)) > 0) {
            length += (size_t)got;
            request[length] = 0;
            body = strstr(request, "\r\n\r\n");
        }
        if (body && strncmp(request, "GET /v1/agent ", 14) == 0) answer(to, "200 OK", "{}", 2);
        else if (body && strncmp(request, "POST /run ", 10) == 0) run(to, body + 4);
        else if (body && strncmp(request, "POST /read ", 11) == 0) read_file(to, body + 4);
        else if (body && strncmp(request, "POST /open ", 11) == 0) tell_open(to);
        else answer(to, "404 Not Found", "", 0);
        close(to);
        while (waitpid(-1, NULL, WNOHANG) > 0) {}
    }
}
