.PHONY: static-checks format test docs

static-checks:
	ruff check .
	ruff format --check .
	mypy

format:
	ruff check --fix .
	ruff format .

test:
	python -m pytest

docs:
	mkdocs build --strict
