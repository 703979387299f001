"""The guides, held to what they say: commands, paths, names, links, and tables that are rendered.

    document   one guide, read as CommonMark: commands, code, links, headings
    source     tables in code, read without importing what they are in
    facts      what is so: images, services, objects, endpoints, files
    programs   commands of other people's programs, and what they name
    tables     the generated sections, in Markdown
    sections   their places in a guide: found, filled, compared
    check      all of it: findings

What a task or session takes is known to `pipeline.tasks.vocabulary`, above this; it is handed in.
"""
