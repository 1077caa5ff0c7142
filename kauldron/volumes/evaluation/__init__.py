"""File against file: values per case, tables, a page."""
