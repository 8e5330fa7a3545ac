"""A `Result` for people: one self-contained HTML page, Markdown, and JSON of the same.

Texts in it come from models and files of strangers: `page` lets none of them become markup, script or request.
"""
