"""From records to findings, sentences, tables, curves and one self-contained page."""
