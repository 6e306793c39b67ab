"""What the service takes and gives, as OpenAPI."""

from __future__ import annotations

from typing import Any

import dsunet
from dsunet.config import ServeConfig
from dsunet.serve.fields import ANSWERS, OUTPUTS
from dsunet.serve.work import MEDIA

__all__ = ["schema"]

Json = dict[str, Any]

_ERROR = {"$ref": "#/components/schemas/Error"}

_REFUSALS = {
    "401": "The token is missing or wrong.",
    "403": "A browser asks for a page of another site, which is not allowed.",
    "408": "The upload is too slow.",
    "413": "The file has too many bytes, or the picture too many pixels.",
    "415": "The body, or what is in it, is of no type that is read.",
    "422": "A field makes no sense, or the picture is broken.",
    "503": "The queue is full, the service starts or stops, or a worker died; `Retry-After` says "
    "when to try again.",
    "504": "The picture waited, or the model worked, too long.",
}


def schema(config: ServeConfig, guarded: bool) -> Json:
    """The service as OpenAPI 3.1 has it.

    Args:
        config: The bounds.
        guarded: Whether a token is needed.
    """
    fields = _fields()
    several = {
        "answer": {
            "type": "string",
            "enum": list(ANSWERS),
            "default": "json",
            "description": "json: one document, pictures in base64; zip: an archive with a file "
            "for each picture and results.json.",
        }
    }
    told: Json = {
        "openapi": "3.1.0",
        "info": {
            "title": "dsunet",
            "version": dsunet.__version__,
            "description": "Segments the object in a picture. Pictures are JPEG, PNG, WebP, TIFF, "
            "BMP, GIF, AVIF, JPEG 2000 or PPM, told by their content; EXIF orientations and colour "
            "profiles are followed.",
        },
        "paths": {
            "/v1/segment": {"post": _segment(config, fields)},
            "/v1/segment/batch": {"post": _batch(config, fields | several)},
            "/v1/models": {
                "get": _get(
                    "The model that is served, and the bounds.",
                    {"application/json": {"schema": {"type": "object"}}},
                    ("401",) if guarded else (),
                )
            },
            "/health": {
                "get": _get("Whether the service is alive.", _document(_status(("ok",)), "status"))
            },
            "/ready": {"get": _ready()},
            "/metrics": {
                "get": _get(
                    "Measures for Prometheus.",
                    {"text/plain": {"schema": {"type": "string"}}},
                    ("401",) if guarded else (),
                )
            },
        },
        "components": {"schemas": {"Error": _error(), "Description": _description()}},
    }
    if guarded:
        told["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        for path in ("/v1/segment", "/v1/segment/batch", "/v1/models", "/metrics"):
            for operation in told["paths"][path].values():
                operation["security"] = [{"token": []}]
    return told


def _fields() -> Json:
    return {
        "output": {
            "type": "string",
            "enum": list(OUTPUTS),
            "default": "probability",
            "description": "probability: grey, 0 to 255; binary: 0 or 255; overlay: the object "
            "tinted; cutout: the background gone; json: numbers, boxes, and the map in base64.",
        },
        "threshold": {
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "description": "Object from this probability on; without it what the weights were "
            "calibrated to, or 0.5. A cut-out, whose edges are soft without it, keeps nothing of "
            "what is below. Not with probability.",
        },
        "background": {
            "type": "string",
            "description": "Of cut-outs: a colour such as white or #00ff00, or transparent.",
        },
        "refine": {
            "type": "boolean",
            "description": "Let edges follow the picture's; by default for cut-outs alone.",
        },
        "crop": {
            "type": "boolean",
            "default": False,
            "description": "Crop to the object's box.",
        },
        "format": {
            "type": "string",
            "enum": list(MEDIA),
            "default": "png",
            "description": "Of the picture that is answered; webp loses nothing; jpg is for "
            "overlays, and for cut-outs on a background.",
        },
        "abstain": {
            "type": "boolean",
            "default": False,
            "description": "An empty mask where the picture's score is below the one that the "
            "weights were calibrated to, or below image_threshold.",
        },
        "image_threshold": {
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "description": "For abstain: that score, where it is to be another one.",
        },
    }


def _query(fields: Json) -> list[Json]:
    return [
        {
            "name": name,
            "in": "query",
            "description": field["description"],
            "schema": {k: v for k, v in field.items() if k != "description"},
        }
        for name, field in fields.items()
    ]


def _refused(*statuses: str) -> Json:
    return {
        status: {
            "description": _REFUSALS[status],
            "content": {"application/json": {"schema": _ERROR}},
        }
        for status in statuses
    }


def _segment(config: ServeConfig, fields: Json) -> Json:
    file = {"type": "string", "contentMediaType": "application/octet-stream"}
    return {
        "summary": "Segment a picture.",
        "description": f"The picture is the body, with the fields behind the address, or a form's "
        f"`file`, with the fields in the form or behind the address. At most {config.max_bytes:,} "
        f"bytes and {config.max_pixels:,} pixels.",
        "operationId": "segment",
        "parameters": _query(fields),
        "requestBody": {
            "required": True,
            "content": {
                "application/octet-stream": {"schema": {}},
                "image/*": {"schema": {}},
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["file"],
                        "properties": {"file": file, **fields},
                        "additionalProperties": False,
                    }
                },
            },
        },
        "responses": {
            "200": {
                "description": "A picture of the size of the one that was sent, or with "
                "`output=json` a document. `X-Notes` tells of what was odd.",
                "content": {
                    **{media: {"schema": {}} for media in MEDIA.values()},
                    "application/json": {"schema": {"$ref": "#/components/schemas/Description"}},
                },
            },
            **_refused(*_REFUSALS),
        },
    }


def _batch(config: ServeConfig, fields: Json) -> Json:
    file = {"type": "string", "contentMediaType": "application/octet-stream"}
    item = {
        "type": "object",
        "required": ["index", "name", "status"],
        "properties": {
            "index": {"type": "integer", "minimum": 0},
            "name": {"type": "string"},
            "status": {"type": "integer", "description": "As if it had come alone."},
            "error": {"type": "string"},
            "media_type": {"type": "string"},
            "base64": {"type": "string"},
            "result": {"$ref": "#/components/schemas/Description"},
            "notes": {"type": "array", "items": {"type": "string"}},
        },
    }
    return {
        "summary": "Segment several pictures; a broken one does not lose the others.",
        "description": f"At most {config.max_batch} files and {config.max_batch_bytes:,} bytes.",
        "operationId": "segmentBatch",
        "parameters": _query(fields),
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["file"],
                        "properties": {
                            "file": {"type": "array", "minItems": 1, "items": file},
                            **fields,
                        },
                        "additionalProperties": False,
                    }
                }
            },
        },
        "responses": {
            "200": {
                "description": "What came of each picture, in their order.",
                "content": {
                    "application/json": {
                        "schema": {
                            "type": "object",
                            "required": ["results"],
                            "properties": {"results": {"type": "array", "items": item}},
                        }
                    },
                    "application/zip": {"schema": {}},
                },
            },
            **_refused(*_REFUSALS),
        },
    }


def _get(summary: str, content: Json, refused: tuple[str, ...] = ()) -> Json:
    return {
        "summary": summary,
        "responses": {"200": {"description": summary, "content": content}, **_refused(*refused)},
    }


def _ready() -> Json:
    whole = _number(), _number()
    content = _document(
        {
            **_status(("ready", "starting", "stopping")),
            "workers": whole[0],
            "queue": whole[1],
        },
        "status",
    )
    told = _get("Whether it takes pictures.", content)
    told["responses"]["503"] = {"description": "Not now.", "content": content}
    return told


def _number() -> Json:
    return {"type": "integer", "minimum": 0}


def _status(values: tuple[str, ...]) -> Json:
    return {"status": {"type": "string", "enum": list(values)}}


def _document(properties: Json, *required: str) -> Json:
    return {
        "application/json": {
            "schema": {"type": "object", "required": [*required], "properties": properties}
        }
    }


def _error() -> Json:
    return {
        "type": "object",
        "required": ["error", "status", "request_id"],
        "properties": {
            "error": {"type": "string", "description": "One line."},
            "status": {"type": "integer"},
            "limit": {"type": "string", "description": "The bound that was met."},
            "allowed": {"type": "number", "description": "Its value."},
            "request_id": {"type": "string"},
        },
    }


def _description() -> Json:
    box = {
        "type": ["array", "null"],
        "items": {"type": "integer"},
        "description": "Left, top, right, bottom in pixels, the last two exclusive.",
    }
    part = {"type": "object", "properties": {"box": box, "area": _number()}}
    return {
        "type": "object",
        "required": ["width", "height", "score", "area", "box", "objects", "map"],
        "properties": {
            "width": _number(),
            "height": _number(),
            "threshold": {"type": "number"},
            "score": {
                "type": "number",
                "description": "Mean probability of the object's pixels, 0 without any.",
            },
            "image_score": {
                "type": "number",
                "description": "How sure the map is that there is an object: the mean of its "
                "highest 0.1 %, 0 to 1.",
            },
            "image_threshold": {
                "type": ["number", "null"],
                "description": "From which score there is an object, where the weights were "
                "calibrated to tell.",
            },
            "area": {**_number(), "description": "Pixels of the object."},
            "share": {"type": "number", "description": "Of all pixels, 0 to 1."},
            "box": box,
            "object_count": _number(),
            "objects": {
                "type": "array",
                "maxItems": 100,
                "items": part,
                "description": "Connected parts, the largest first.",
            },
            "map": {
                "type": "object",
                "properties": {
                    "media_type": {"type": "string"},
                    "base64": {"type": "string"},
                    "box": box,
                },
            },
            "notes": {"type": "array", "items": {"type": "string"}},
        },
    }
