"""Pictures over HTTP: a service that keeps to its bounds, and a page for people.

Needs the extra `serve` (Starlette, uvicorn, python-multipart, prometheus_client, OpenCV).
"""
