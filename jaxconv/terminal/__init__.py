"""What a person meets: text that any encoding can show, tables, progress, ctrl-C, and the style of a page.

`output` writes text and files, `console` tables and progress bars, `progress` the steps of a long check, `sigint`
makes ctrl-C end a compilation, `page` puts a page of HTML together, `picture` draws the distances of an array into
one, `palette` has the colours of pictures and pages, `diagram` the arrows of the gated cell, `once` shows once what is
printed many times, `named` finds what a command line names.
"""
