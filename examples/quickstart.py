"""A box, files, a program and its output. DEVBOX_URL and DEVBOX_API_KEY say which server."""

from sealos_devbox import Devbox

with Devbox().create(language="python") as sandbox:  # deleted at the end of the block
    sandbox.fs.write_file("/workspace/main.py", 'import sys\nprint("hello", *sys.argv[1:])\n')
    result = sandbox.run(["python3", "main.py", "world"], check=True)
    print(result.exit_code, result.stdout, end="")

    sandbox.fs.upload_files({"/workspace/a.txt": "a", "/workspace/b.bin": b"\x00"})  # all or nothing
    archive = sandbox.fs.download_files(["/workspace"])  # a zip
    print(*archive.names())
