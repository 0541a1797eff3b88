"""Results as trainers and evaluators read them: one file a format, and a line in the table of ``formats``.

A format is a pure conversion of samples (``samples``) to lines, and a writer (``writers``) that streams them. Which
records become samples is decided in ``selection``, what their images are called in ``pictures``; ``run`` puts it all
together, ``report`` counts what was lost on the way.
"""
