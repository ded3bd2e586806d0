"""The program that must always work, as its user wrote it."""

from __future__ import annotations

import io
import zipfile

from sealos_devbox import Devbox, DevboxConfig
from server import LiveServer


def test_the_program_that_must_always_work(server: LiveServer) -> None:
    csv_bytes, json_str, code_str = b"a,b\n1,2\n", '{"debug": true}', "print('from the script')\n"
    config = DevboxConfig(api_key=server.api_key, api_url=server.url)
    devbox = Devbox(config)
    # The user's own program says 3.11; here it is whatever the server has.
    found = [runtime for template in devbox.templates() for runtime in template.runtimes]
    runtime = next(runtime.rpartition(".")[0] for runtime in found if runtime.startswith("python:"))
    sandbox = devbox.create(language="python", runtime=runtime)
    try:
        sandbox.fs.write_file("/workspace/main.py", 'print("hello")')
        content = sandbox.fs.read_file("/workspace/main.py")
        assert content == 'print("hello")'

        sandbox.fs.upload_files(
            {
                "/workspace/data.csv": csv_bytes,
                "/workspace/config.json": json_str,
                "/workspace/script.py": code_str,
            }
        )
        sandbox.run("python3 script.py > output.txt; cp data.csv result.csv", check=True)
        files = sandbox.fs.download_files(["/workspace/output.txt", "/workspace/result.csv"])
        with zipfile.ZipFile(io.BytesIO(files)) as archive:
            assert archive.testzip() is None
            assert archive.read("workspace/output.txt") == b"from the script\n"
            assert archive.read("workspace/result.csv") == csv_bytes

        names = {entry.name for entry in sandbox.fs.list_dir("/workspace")}
        assert names == {"main.py", "data.csv", "config.json", "script.py", "output.txt", "result.csv"}
        sandbox.fs.make_dir("/workspace/logs")
        assert sandbox.fs.stat("/workspace/logs").is_dir
        sandbox.fs.write_file("/workspace/temp/deep/file", "x")
        sandbox.fs.delete("/workspace/temp")
        assert not sandbox.fs.exists("/workspace/temp")
    finally:
        sandbox.delete()
