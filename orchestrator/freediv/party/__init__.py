"""A party: its process, the requests that it holds, and what it does together with the others."""
