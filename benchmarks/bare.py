"""The least that can stand beside the daemon: aiohttp and orjson, listening, and nothing else. Says where it listens as the daemon does."""

import asyncio
import sys

import orjson
from aiohttp import web


async def handle(request: web.Request) -> web.Response:
    return web.Response(body=orjson.dumps({"alerts": len(orjson.loads(await request.read())["alerts"])}), content_type="application/json")


async def main() -> None:
    application = web.Application()
    application.router.add_post("/webhook/alertmanager", handle)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(orjson.dumps({"event": "listening", "url": f"http://127.0.0.1:{runner.addresses[0][1]}"}).decode(), file=sys.stderr)
    await asyncio.Event().wait()


asyncio.run(main())
