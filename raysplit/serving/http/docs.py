"""The application without routes, and its OpenAPI as a page that loads nothing from other hosts."""

from __future__ import annotations

import importlib.metadata

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi_offline import FastAPIOffline

_FILES = "/docs-files"
_PARAMETERS = {"validatorUrl": None}
"""Else the page shows a badge of a validator on the web."""
_STYLE = "<style>.swagger-ui .response-col_links { display: none } .swagger-ui .info { margin: 20px 0 }</style>"
"""Without the empty column of links, the page fits a phone."""


def create_documented_app(title: str) -> FastAPI:
    """Return an application with Swagger UI at `/docs`, its files served from here."""
    app = FastAPIOffline(
        None,
        None,
        static_url=_FILES,
        title=title,
        description='Errors are `{"error": text}` with a status of 400 or more.',
        version=importlib.metadata.version("raysplit"),
    )

    async def docs(request: Request) -> HTMLResponse:
        root = request.scope.get("root_path", "")
        page = get_swagger_ui_html(
            openapi_url=f"{root}{app.openapi_url}",
            title=title,
            swagger_js_url=f"{root}{_FILES}/swagger-ui-bundle.js",
            swagger_css_url=f"{root}{_FILES}/swagger-ui.css",
            swagger_favicon_url=f"{root}{_FILES}/favicon.png",
            swagger_ui_parameters=_PARAMETERS,
        )
        return HTMLResponse(bytes(page.body).decode().replace("</head>", f"{_STYLE}</head>"))

    app.add_api_route("/docs", docs, include_in_schema=False)
    return app
