"""The demo model: a VLM server on 127.0.0.1 that decodes the picture it is sent and looks at its pixels.

It knows nothing but the request and imports nothing of raylabel outside this folder. What makes it able to see is one
rule that the pictures must obey: objects are saturated colours with hard edges, grounds are muted.
"""
