"""The service: routes, and what happens to a picture on its way to a worker and back."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import zipfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import PurePath
from typing import Any, TypeVar

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

import dsunet
from dsunet.config import ServeConfig
from dsunet.serve.around import Around, Guard, answer_to
from dsunet.serve.bodies import Gone, Part, Uploads
from dsunet.serve.fields import ANSWERS, FIELDS, OUTPUTS, Ask, one_of, parse
from dsunet.serve.measures import Measures
from dsunet.serve.refusals import Refusal
from dsunet.serve.schema import schema
from dsunet.serve.statics import folder
from dsunet.serve.work import MEDIA, Job
from dsunet.serve.workers import Done, Workers

__all__ = ["Service"]

_T = TypeVar("_T")


class Service:
    """All routes, around some workers.

    Args:
        config: The bounds.
        workers: What segments; the caller starts and stops them.
        token: What clients have to send; empty for nothing.
        on_line: Gets a line of JSON for every request; `None` for no log.

    Attributes:
        app: The ASGI application.
    """

    app: ASGIApp

    def __init__(
        self,
        config: ServeConfig,
        workers: Workers,
        token: str = "",
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        self.config = config
        self.workers = workers
        self.uploads = Uploads(config)
        self.measures = Measures(workers, self.uploads)
        self.stopping = False
        """Whether it takes no more pictures."""
        self._page, self._reference = folder("page"), folder("reference")
        self._schema = schema(config, bool(token))
        routes = [
            Route("/", self._index),
            Route("/page/{name}", self._page_file),
            Route("/docs", self._docs),
            Route("/docs/{name}", self._docs_file),
            Route("/openapi.json", self._openapi),
            Route("/health", self._health),
            Route("/ready", self._ready),
            Route("/metrics", self._metrics),
            Route("/v1/models", self._models),
            Route("/v1/segment", self._refusable(self._segment), methods=["POST"]),
            Route("/v1/segment/batch", self._refusable(self._batch), methods=["POST"]),
        ]
        routed = Starlette(routes=routes, exception_handlers={HTTPException: self._http_error})
        routed.router.redirect_slashes = False
        app: ASGIApp = Guard(routed, token, ("/v1/", "/metrics")) if token else routed
        if config.origins:
            app = CORSMiddleware(
                app,
                allow_origins=config.origins,
                allow_methods=["GET", "POST"],
                allow_headers=["Authorization", "Content-Type", "X-Request-Id"],
                expose_headers=["X-Request-Id", "X-Notes", "Retry-After"],
                max_age=600,
            )
        self.app = Around(
            app,
            self.measures,
            [route.path for route in routes],
            on_line,
            config.origins,
        )

    # -- what is read

    async def _index(self, request: Request) -> Response:
        if (file := self._page.get("index.html")) is None:
            raise HTTPException(404, "there is no page; /docs tells of the service")
        return file.answer(request)

    async def _page_file(self, request: Request) -> Response:
        return self._file(self._page, request)

    async def _docs(self, request: Request) -> Response:
        return self._reference["index.html"].answer(request)

    async def _docs_file(self, request: Request) -> Response:
        return self._file(self._reference, request)

    def _file(self, files: Mapping[str, Any], request: Request) -> Response:
        file = files.get(request.path_params["name"])
        if file is None:
            raise HTTPException(404, "there is no such file")
        answer: Response = file.answer(request)
        return answer

    async def _openapi(self, request: Request) -> Response:
        return JSONResponse(self._schema)

    async def _health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _ready(self, request: Request) -> Response:
        ready = self.workers.ready_count
        status = "stopping" if self.stopping else "ready" if ready else "starting"
        told = {"status": status, "workers": ready, "queue": self.workers.queue_length}
        return JSONResponse(told, 200 if status == "ready" else 503)

    async def _metrics(self, request: Request) -> Response:
        return Response(
            generate_latest(self.measures.registry),
            media_type=None,
            headers={"Content-Type": CONTENT_TYPE_LATEST},
        )

    async def _models(self, request: Request) -> Response:
        return JSONResponse(
            {
                "models": [self.workers.facts] if self.workers.facts else [],
                "outputs": list(OUTPUTS),
                "formats": list(MEDIA),
                "limits": self.config.limits,
                "version": dsunet.__version__,
            }
        )

    async def _http_error(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        said = str(error.detail)
        if error.status_code == 404 and said == "Not Found":
            said = "there is no such path; /docs tells of those that there are"
        elif error.status_code == 405:
            allowed = (error.headers or {}).get("Allow", "")
            said = f"{request.method[:20]} does not go with this path; it takes {allowed}"
        answer = answer_to(Refusal(error.status_code, said), request.state.request_id)
        answer.headers.update(error.headers or {})
        return answer

    # -- what is segmented

    def _refusable(
        self, handle: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """A handler whose refusals are answers."""

        async def handled(request: Request) -> Response:
            try:
                return await handle(request)
            except Refusal as refusal:
                request.state.log["error"] = str(refusal)
                return answer_to(refusal, request.state.request_id)
            except Gone:
                request.state.log["error"] = "the client has left"
                return Response(status_code=499)

        return handled

    def _check_open(self) -> None:
        if self.stopping:
            raise Refusal(503, "the service is stopping; try another", retry_after=5)
        if not self.workers.ready_count and not self.workers.facts:
            raise Refusal(503, "the model is being loaded; try again soon", retry_after=1)

    async def _segment(self, request: Request) -> Response:
        self._check_open()
        self.workers.check_room()
        query = _query(request)
        parse(query)
        with self.uploads.holding() as held:
            sent = await self.uploads.read(request, held)
            ask = parse(_merged(query, sent.fields))
            done = await self._while_there(request, self._run(sent.parts[0], ask))
        request.state.log["queue_seconds"] = round(done.queued, 4)
        request.state.log["model_seconds"] = round(done.worked, 4)
        notes = "; ".join(done.notes).encode("ascii", "replace").decode()
        headers = {"X-Notes": "".join(filter(str.isprintable, notes))[:500]} if notes else {}
        return Response(done.content, media_type=done.media, headers=headers)

    async def _batch(self, request: Request) -> Response:
        self._check_open()
        self.workers.check_room()
        query, known = _query(request), (*FIELDS, "answer")
        parse(query, known)
        with self.uploads.holding() as held:
            sent = await self.uploads.read(request, held, batch=True)
            fields = _merged(query, sent.fields)
            ask = parse(fields, known)
            answer = one_of({k: v[0] for k, v in fields.items()}, "answer", ANSWERS, "json")
            results = await self._while_there(request, self._run_all(sent.parts, ask))
        told = [
            _item(number, part, ask, result, inline=answer == "json")
            for number, (part, result) in enumerate(zip(sent.parts, results, strict=True))
        ]
        request.state.log["pictures"] = len(results)
        if answer == "json":
            content = await asyncio.to_thread(json.dumps, {"results": told})
            return Response(content, media_type="application/json")
        archive = await asyncio.to_thread(_zipped, told, results)
        headers = {"Content-Disposition": 'attachment; filename="segmented.zip"'}
        return Response(archive, media_type="application/zip", headers=headers)

    async def _run(self, part: Part, ask: Ask) -> Done:
        try:
            self._check_part(part)
            done = await self.workers.run(Job(part.content, ask))
        except Refusal as refusal:
            self.measures.pictures.labels(str(refusal.status)).inc()
            raise
        self.measures.pictures.labels("200").inc()
        self.measures.queued.observe(done.queued)
        self.measures.worked.observe(done.worked)
        return done

    def _check_part(self, part: Part) -> None:
        if not part.content:
            raise Refusal(422, "the picture's file is empty; send one with something in it")
        if len(part.content) > (most := self.config.max_bytes):
            raise Refusal(
                413,
                f"the picture's file is larger than {most:,} bytes; make it smaller",
                "max_bytes",
                most,
            )

    async def _run_all(self, parts: list[Part], ask: Ask) -> list[Done | Refusal]:
        """The results of several pictures, as many at a time as there are workers."""
        turns = asyncio.Semaphore(self.workers.count)

        async def one(part: Part) -> Done | Refusal:
            async with turns:
                try:
                    return await self._run(part, ask)
                except Refusal as refusal:
                    return refusal

        return list(await asyncio.gather(*map(one, parts)))

    async def _while_there(self, request: Request, work: Awaitable[_T]) -> _T:
        """What comes of some work, which ends if the client leaves.

        Raises:
            Gone: The client has left.
        """
        working = asyncio.ensure_future(work)
        leaving = asyncio.ensure_future(_left(request))
        try:
            await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise Gone
            return working.result()
        finally:
            for task in (working, leaving):
                task.cancel()
            await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    """Waits until the client has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _query(request: Request) -> dict[str, list[str]]:
    params = request.query_params
    return {name: params.getlist(name) for name in params}


def _merged(query: dict[str, list[str]], form: dict[str, list[str]]) -> dict[str, list[str]]:
    """The fields of both; what stands in both is there twice."""
    return {name: query.get(name, []) + form.get(name, []) for name in {**query, **form}}


def _item(
    number: int, part: Part, ask: Ask, result: Done | Refusal, *, inline: bool
) -> dict[str, Any]:
    """What is told of one picture of several."""
    told: dict[str, Any] = {"index": number, "name": part.name[:200]}
    if isinstance(result, Refusal):
        told |= {"status": result.status, "error": str(result)}
        return told | ({"limit": result.limit, "allowed": result.allowed} if result.limit else {})
    told |= {"status": 200, "media_type": result.media, "notes": result.notes}
    if ask.output == "json":
        return told | {"result": json.loads(result.content)}
    if inline:
        return told | {"base64": base64.b64encode(result.content).decode()}
    stem = re.sub(r"[^\w.-]+", "_", PurePath(part.name.replace("\\", "/")).stem)[:80].strip("._")
    ending = ask.options.format
    return told | {"file": f"{number:03}-{stem or 'picture'}.{ending}"}


def _zipped(told: list[dict[str, Any]], results: list[Done | Refusal]) -> bytes:
    """The results' files, and `results.json` with what is told of each."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("results.json", json.dumps({"results": told}, indent=2))
        for each, result in zip(told, results, strict=True):
            if "file" in each and isinstance(result, Done):
                archive.writestr(each["file"], result.content)
    return content.getvalue()
